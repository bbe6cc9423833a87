import numpy as np
import pytest
import torch

from lib.advisor.guide import DIFFERENT_DISTANCE
from lib.advisor.measurement import NUM_SAMPLED, advise, balanced_order, stage_statistics
from lib.models.stages import Backbone, build_backbone
from lib.pretraining.families import class_table, draw_image
from tests.features.tiny_dataset import TinyDataset


@pytest.fixture(scope="module")
def bundled() -> Backbone:
    return build_backbone("bundled_vgg", feature_only=True)


def median_distance(backbone: Backbone, pixels: np.ndarray) -> float:
    return float(np.median([value for value in stage_statistics(backbone, pixels).distances.values() if value]))


def test_own_images_are_nearer_than_the_threshold_and_noise_is_farther(bundled: Backbone) -> None:
    table = class_table()
    own = np.stack([draw_image(*table[number], 900, side=64) for number in range(0, len(table), len(table) // 24)])
    noise = np.random.default_rng(0).integers(0, 256, (8, 64, 64, 3)).astype(np.uint8)
    assert median_distance(bundled, own) < DIFFERENT_DISTANCE < median_distance(bundled, noise)


def test_statistics_of_batches_are_those_of_all_images() -> None:
    backbone = build_backbone("bundled_vgg", weights="random", feature_only=True)
    pixels = TinyDataset(num_images=20).pixels  # more than one batch
    norm = next(m for m in backbone.stages["block1"].modules() if isinstance(m, torch.nn.BatchNorm2d))
    seen: list[torch.Tensor] = []
    handle = norm.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    found = stage_statistics(backbone, pixels)
    handle.remove()
    values = torch.cat(seen).double()
    shift = values.mean((0, 2, 3))  # of a new layer: mean 0, variance 1
    spread = (values.var((0, 2, 3), correction=0) + norm.eps).sqrt() / np.sqrt(1 + norm.eps) - 1
    wanted = float((shift**2 / (1 + norm.eps) + spread**2).mean().sqrt())
    assert found.distances["block1"] == pytest.approx(wanted, rel=1e-4)
    assert found.distances["pool"] is None  # no BatchNorm, no statistics of the source
    assert found.outputs["block1"].shape == (20, 32)
    assert not norm._forward_pre_hooks


def test_classes_take_turns() -> None:
    targets = np.repeat([0, 1, 2], [50, 5, 20])
    order = balanced_order(np.arange(75), targets)
    assert sorted(order) == list(range(75))
    assert set(targets[order[:3]]) == {0, 1, 2}
    many = np.arange(400) % 100
    drawn = balanced_order(np.arange(400), many)
    assert len(np.unique(many[drawn])) == NUM_SAMPLED // 8


def test_advice_reads_the_training_part_alone() -> None:
    dataset = TinyDataset(num_images=40)
    is_train = dataset.split(0) == "train"
    first = advise(dataset, "bundled_vgg")
    assert first.readings.num_train == first.readings.num_sampled == is_train.sum()
    assert first.readings.least_per_class == np.bincount(dataset.table["target"][is_train]).min()
    assert first.readings.nearest_centroid is not None
    dataset.pixels[~is_train] = 0
    again = advise(dataset, "bundled_vgg")
    assert again.readings.stages == first.readings.stages
    dataset.pixels[is_train] = 255 - dataset.pixels[is_train]
    assert advise(dataset, "bundled_vgg").readings.stages != first.readings.stages
