from dataclasses import replace

import numpy as np
import pytest
import torch

from lib.advisor.guide import (
    DIFFERENT_DISTANCE,
)
from lib.advisor.measurement import (
    NUM_SAMPLED,
    StageReader,
    advise,
    balanced_order,
    feature_distance,
    logme,
    nearest_centroid_accuracy,
    stage_statistics,
)
from lib.atomic import write_json
from lib.data.enhancement import fit_chain
from lib.data.grades import GRADE_NAMES
from lib.data.subset import apply_protocol
from lib.features.engine import EngineChoice, FrozenPart
from lib.features.frozen_stages import smooth_pictures
from lib.features.onnx_session import OnnxSession, runtime_version
from lib.models.backbones import BACKBONES
from lib.models.head_layers import pool_features
from lib.models.stages import Backbone, build_backbone, set_batchnorm_statistics
from lib.pretraining.images import class_table, draw_image
from lib.settings import cache_dir
from lib.training.config import TrainConfig
from lib.training.network import Compute, untrained_classifier
from lib.training.preparation import Preparation
from lib.training.resolution import resolve_config
from tests.features.tiny_dataset import TinyDataset

CONFIG = TrainConfig(dataset="tiny", backbone="bundled_vgg")


@pytest.fixture(autouse=True)
def _smaller_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half the side is a quarter of the time of every stage."""
    spec = BACKBONES.get("bundled_vgg")
    monkeypatch.setitem(BACKBONES._specs, spec.name, replace(spec, input_size_px=spec.input_size_px // 2))


@pytest.fixture(scope="module")
def bundled() -> Backbone:
    return build_backbone("bundled_vgg", feature_only=True)


def median_distance(backbone: Backbone, pixels: np.ndarray) -> float:
    return float(np.median([value for value in stage_statistics(backbone, pixels)[1].values() if value]))


@pytest.mark.slow
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
    outputs, distances = stage_statistics(backbone, pixels)
    handle.remove()
    values = torch.cat(seen).double()
    shift = values.mean((0, 2, 3))  # of a new layer: mean 0, variance 1
    spread = (values.var((0, 2, 3), correction=0) + norm.eps).sqrt() / np.sqrt(1 + norm.eps) - 1
    wanted = float((shift**2 / (1 + norm.eps) + spread**2).mean().sqrt())
    assert distances["block1"] == pytest.approx(wanted, rel=1e-4)
    assert distances["pool"] is None  # no BatchNorm, no statistics of the source
    assert outputs["block1"].shape == (20, 32)
    assert not norm._forward_pre_hooks


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bundled_vgg", "mobilenet_v3_small", "resnet18", "efficientnet_lite0"])
def test_both_engines_read_the_same_of_all_stages(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    backbone, pixels = build_backbone(name, weights="random", feature_only=True), TinyDataset(num_images=10).pixels
    set_batchnorm_statistics(backbone, smooth_pictures(8, 64, seed=1))
    backbone.spec = replace(backbone.spec, input_size_px=64)
    before = {key: tensor.clone() for key, tensor in backbone.state_dict().items()}
    sessions = []
    made = OnnxSession.all_outputs
    monkeypatch.setattr(
        OnnxSession, "all_outputs", lambda self, batch: sessions.append(len(batch)) or made(self, batch)
    )
    plain = stage_statistics(backbone, pixels)
    assert sessions == []
    found = stage_statistics(backbone, pixels, engine=EngineChoice("onnx", 4))
    assert sessions == [4, 4, 2]
    for stage, values in plain[0].items():
        assert found[0][stage] == pytest.approx(values, abs=1e-4 * max(1.0, float(np.abs(values).max()))), stage
        assert found[1][stage] == pytest.approx(plain[1][stage], abs=1e-4), stage
    assert all(torch.equal(before[key], tensor) for key, tensor in backbone.state_dict().items())
    assert not any(module._forward_pre_hooks for module in backbone.modules())


@pytest.mark.slow
def test_advice_is_measured_by_the_engine_that_the_trial_of_this_home_found() -> None:
    dataset, spec, told = TinyDataset(num_images=24), BACKBONES.get("bundled_vgg"), []
    part = FrozenPart("bundled_vgg", "pretrained", 0, spec.feature_stage, spec.input_size_px)
    plain = advise(dataset, CONFIG).readings
    write_json(
        cache_dir() / "engines.json",
        {
            "onnxruntime": runtime_version(),
            "choices": {part.key: {"name": "onnx", "batch_size": 5, "reason": "faster"}},
        },
    )
    found = advise(dataset, CONFIG, progress=lambda done, total, what: told.append(done)).readings
    assert told[:2] == [5, 10]
    for one, other in zip(found.stages, plain.stages, strict=True):
        assert one.distance == pytest.approx(other.distance, abs=1e-4)
        assert one.logme == pytest.approx(other.logme, abs=1e-3)
    assert found.nearest_centroid == plain.nearest_centroid


def test_classes_take_turns() -> None:
    targets = np.repeat([0, 1, 2], [50, 5, 20])
    order = balanced_order(np.arange(75), targets)
    assert sorted(order) == list(range(75))
    assert set(targets[order[:3]]) == {0, 1, 2}
    many = np.arange(400) % 100
    drawn = balanced_order(np.arange(400), many)
    assert len(np.unique(many[drawn])) == NUM_SAMPLED // 8


@pytest.mark.slow
def test_advice_reads_the_training_part_alone() -> None:
    dataset = TinyDataset(num_images=40)
    is_train = dataset.split(0) == "train"
    first = advise(dataset, CONFIG)
    assert first.readings.num_train == first.readings.num_sampled == is_train.sum()
    assert first.readings.least_per_class == np.bincount(dataset.table["target"][is_train]).min()
    assert first.readings.nearest_centroid is not None
    dataset.pixels[~is_train] = 0
    again = advise(dataset, CONFIG)
    assert again.readings.stages == first.readings.stages
    dataset.pixels[is_train] = 255 - dataset.pixels[is_train]
    assert advise(dataset, CONFIG).readings.stages != first.readings.stages


@pytest.mark.slow
def test_advice_is_on_the_images_and_classes_of_the_training() -> None:
    dataset = TinyDataset(num_images=50, num_classes=5, names=GRADE_NAMES)
    config = replace(CONFIG, preprocessing="local_average", target_map="referable", max_per_class=8)
    part = apply_protocol(dataset, config)
    is_train = part.split(0) == "train"
    found = advise(part, config).readings
    assert (found.num_train, found.num_classes) == (is_train.sum(), 2)
    assert found.least_per_class == np.bincount(part.table["target"][is_train]).min()
    plain = advise(part, replace(config, preprocessing="none")).readings
    assert found.stages[0].distance != plain.stages[0].distance
    # As if the pictures had been changed by hand.
    changed = TinyDataset(num_images=50, num_classes=5, names=GRADE_NAMES, version="v2")
    changed.pixels = fit_chain("local_average", changed.pixels, np.arange(1))(changed.pixels)
    again = advise(apply_protocol(changed, config), replace(config, preprocessing="none")).readings
    assert found.stages == again.stages


@pytest.mark.slow
def test_features_at_hand_are_those_of_the_same_preprocessing() -> None:
    dataset = TinyDataset()
    config = resolve_config(replace(CONFIG, preprocessing="clahe"), dataset)
    preparation = Preparation(config, dataset, Compute(), listener=lambda event: None, should_stop=lambda: False)
    preparation.enhance(dataset.split(0))
    classifier = untrained_classifier(config, num_classes=2)
    preparation.plain_features(classifier)
    assert advise(dataset, config).readings.was_cached
    assert not advise(dataset, CONFIG).readings.was_cached


@pytest.mark.slow
@pytest.mark.parametrize(("tint", "strategy"), [(100, "linear_probe"), (0, "full_finetuning")])
def test_images_that_frozen_features_tell_apart_are_to_be_probed(tint: int, strategy: str, monkeypatch) -> None:
    monkeypatch.setattr("lib.advisor.guide.SMALL_PER_CLASS", 20)
    monkeypatch.setattr("lib.advisor.guide.TINY_PER_CLASS", 5)
    dataset = TinyDataset(num_images=120)
    random = np.random.default_rng(0)
    dataset.pixels = random.integers(60, 120, dataset.pixels.shape).astype(np.uint8)
    dataset.pixels[dataset.table["target"] == 1, :, :16] += np.uint8(tint)
    found = advise(dataset, CONFIG)
    assert found.strategy == strategy
    assert found.readings.is_separated == (tint > 0)
    assert ("already separate" in found.reason) == (tint > 0)


def test_distance_is_in_deviations_of_the_source() -> None:
    features = np.array([[1.0, 10.0], [3.0, 14.0]])  # means 2 and 12, deviations 1 and 2
    mean, variance = features.mean(axis=0), features.var(axis=0)
    assert feature_distance(mean, variance, np.array([2.0, 12.0]), np.array([1.0, 4.0])) == pytest.approx(0.0)
    # One deviation off in one of two channels: sqrt((1 + 0) / 2).
    assert feature_distance(mean, variance, np.array([1.0, 12.0]), np.array([1.0, 4.0])) == pytest.approx(np.sqrt(0.5))


def test_logme_is_the_evidence_of_the_linear_model_and_prefers_features_that_tell() -> None:
    generator = np.random.default_rng(0)
    targets = np.arange(60) % 2
    telling = generator.normal(size=(60, 5)) + 3 * targets[:, None]
    noise = generator.normal(size=(60, 5))
    assert logme(telling, targets) > logme(noise, targets) + 0.2
    assert np.isfinite(logme(generator.normal(size=(20, 50)), np.arange(20) % 2))  # more channels than images


def test_nearest_centroid_tells_blobs_apart_and_guesses_at_noise() -> None:
    generator = np.random.default_rng(0)
    targets = np.repeat([0, 1, 2], [40, 40, 3])
    features = generator.normal(size=(len(targets), 4))
    assert nearest_centroid_accuracy(features + 5 * targets[:, None], targets) == pytest.approx(1.0)
    guess = nearest_centroid_accuracy(features[:80], targets[:80])
    assert guess is not None
    assert 0.3 < guess < 0.7
    assert nearest_centroid_accuracy(features[:3], np.array([0, 1, 1])) is None  # one class has one image


def test_fellow_images_of_a_patient_do_not_give_the_class_away() -> None:
    alike = np.repeat(np.random.default_rng(0).normal(size=(12, 200)), 2, axis=0)
    targets, patients = np.repeat(np.arange(12) % 2, 2), np.repeat(np.arange(12), 2)
    leaked, honest = nearest_centroid_accuracy(alike, targets), nearest_centroid_accuracy(alike, targets, patients)
    assert leaked is not None
    assert honest is not None
    assert honest < 0.7 < 0.8 < leaked


def test_pooled_outputs_come_first_and_then_what_enters_each_batchnorm() -> None:
    backbone, images = build_backbone("mobilenet_v3_small", weights="random"), smooth_pictures(3, 64, seed=1)
    set_batchnorm_statistics(backbone, images)
    reader = StageReader(backbone)
    with torch.no_grad():
        found = reader(images)
        entered = backbone.stages["stem"][0][0](images)  # its convolution, in front of the first BatchNorm
        expected = {name: backbone.forward_until(images, name) for name in backbone.stages}
    assert len(found) == reader.num_outputs == len(expected) + 2 * sum(map(len, reader.norms.values()))
    for (name, output), pooled in zip(expected.items(), found, strict=False):
        torch.testing.assert_close(pooled, pool_features(output, *reader.poolings[name]).flatten(1))
    mean, variance = found[len(expected) : len(expected) + 2]
    torch.testing.assert_close(mean, entered.mean((2, 3)))
    torch.testing.assert_close(variance, entered.var((2, 3), correction=0))


def test_the_backbone_stays_as_it_is_and_lends_its_weights() -> None:
    backbone = build_backbone("mobilenet_v3_small", weights="random").train()
    reader = StageReader(backbone)
    with torch.no_grad():
        reader(torch.randn(2, 3, 64, 64))
    assert backbone.training
    assert not any(module.training for module in reader.stages.modules())
    assert next(reader.parameters()).data_ptr() == next(backbone.parameters()).data_ptr()
    assert not any(module._forward_pre_hooks for module in [*backbone.modules(), *reader.modules()])


def test_what_an_export_is_kept_under_names_the_poolings() -> None:
    reader = StageReader(build_backbone("resnet18", weights="random", feature_only=True))
    before = repr(reader)
    reader.poolings["stem"] = ("flatten", 0)
    assert repr(reader) != before
