"""The pre-training: it learns, an interrupted one ends at the same weights, and two stages end in a weights file."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from lib.models.bundled_weights import read_bundled_metadata, read_bundled_weights
from lib.pretraining.images import FAMILIES, NUM_FAMILIES_OF_FORM, ImageStore, StoreSpec, render_store
from lib.pretraining.training import (
    LOG_FILE,
    PretrainConfig,
    _Pretraining,
    contrastive_loss,
    pretrain,
    produce,
    random_views,
    stages,
)

CONFIG = PretrainConfig(num_steps=6, images_per_step=8, phases=((1.0, 32),), num_val_per_class=2, learning_rate=0.02)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ImageStore:
    spec = StoreSpec(per_class=4, side_px=32, class_share=0.02)
    return render_store(tmp_path_factory.mktemp("store"), spec, num_processes=1)


def test_the_contrastive_loss_of_perfect_pairs_is_worked_out_by_hand() -> None:
    # Two images at right angles, each view the same: similarity 1 with the partner, 0 with both strangers, over 0.5.
    embedded = torch.eye(2).repeat(2, 1)
    expected = -math.log(math.exp(2) / (math.exp(2) + 2))
    assert float(contrastive_loss(embedded, temperature=0.5)) == pytest.approx(expected, abs=1e-6)


def test_an_interrupted_pretraining_ends_at_the_same_weights(store: ImageStore, tmp_path: Path) -> None:
    unbroken = pretrain(store, CONFIG, _folder(tmp_path, "a"))
    run = _Pretraining(store, CONFIG, _folder(tmp_path, "b"), lambda line: None)
    for _ in range(3):
        run.train_step()
    run.save()
    resumed = pretrain(store, CONFIG, tmp_path / "b")
    for name, value in unbroken.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
    last = json.loads((tmp_path / "b" / LOG_FILE).read_text().splitlines()[-1])
    assert last["step"] == 6
    assert 0 <= last["val_accuracy"] <= 1


def test_validation_images_are_never_trained_on(store: ImageStore, tmp_path: Path) -> None:
    run = _Pretraining(store, CONFIG, _folder(tmp_path, "c"), lambda line: None)
    seen = set()
    for step in range(40):
        run.step = step
        seen |= set(run._rows().tolist())
    assert not seen & set(run.val_rows.tolist())
    assert seen == set(run.train_rows.tolist())


def test_views_follow_the_generator_and_differ_within_a_batch() -> None:
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (1, 40, 40, 3), dtype=np.uint8)).repeat(
        3, 1, 1, 1
    )
    views = random_views(pixels, size_px=24, generator=torch.Generator().manual_seed(5))
    again = random_views(pixels, size_px=24, generator=torch.Generator().manual_seed(5))
    assert views.shape == (3, 3, 24, 24)
    assert torch.equal(views, again)
    assert not torch.equal(views[0], views[1])
    assert float(views.min()) >= 0
    assert float(views.max()) <= 1


def _folder(parent: Path, name: str) -> Path:
    (parent / name).mkdir()
    return parent / name


def test_the_stages_share_the_steps_and_the_first_sees_form_alone() -> None:
    first, second = stages(100)
    assert first.num_steps + second.num_steps == 100
    assert (first.num_families, second.num_families) == (NUM_FAMILIES_OF_FORM, None)
    assert FAMILIES.names[NUM_FAMILIES_OF_FORM] == "insects"
    assert second.colour.mixing < first.colour.mixing


@pytest.mark.slow
def test_a_weights_file_comes_out_and_a_second_call_trains_nothing_again(tmp_path: Path) -> None:
    made = produce(tmp_path, per_class=8, steps=4, class_share=0.02, dtype="float32", num_processes=1)
    metadata = read_bundled_metadata(Path(made["file"]))
    assert len(metadata.classes) == made["num_classes"] == 2 * len(FAMILIES.names)
    assert len(metadata.pretraining["stages"]) == 2
    again = produce(tmp_path, per_class=8, steps=4, class_share=0.02, dtype="float32", num_processes=1)
    first, second = (read_bundled_weights(Path(path)) for path in (made["file"], again["file"]))
    assert all((first[key] == second[key]).all() for key in first)
