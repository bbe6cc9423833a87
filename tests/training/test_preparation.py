import numpy as np
import pandas as pd
import pytest
import torch

from lib.data.splits import assign_splits
from lib.training import preparation
from lib.training.config import TrainConfig
from lib.training.inputs import CachedInputs, ImageInputs
from lib.training.preparation import Development, development_apart, development_of, development_within
from tests.training.test_session import make_session, state_of


def test_partial_finetuning_trains_from_the_named_stage_up_and_caches_below() -> None:
    session = make_session("partial_finetuning", unfreeze_from="block5")
    before = state_of(session.new_classifier().stages)
    fitted = session.fit(session.dataset.split(0))
    after = state_of(fitted.classifier.stages)
    changed = {key.split(".")[0] for key in before if not torch.equal(before[key], after[key])}
    assert changed == {"block5", "head_conv"}
    assert isinstance(fitted.inputs, CachedInputs)
    assert fitted.inputs.after == "block4"


@pytest.mark.parametrize("engine", ["torch", "onnx"])
def test_partial_finetuning_with_and_without_cache_gives_the_same_losses(
    monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    histories = []
    for max_bytes in (preparation.MAX_ACTIVATION_BYTES, 0):
        monkeypatch.setattr(preparation, "MAX_ACTIVATION_BYTES", max_bytes)
        session = make_session("partial_finetuning", unfreeze_from="block5", engine=engine)
        fitted = session.fit(session.dataset.split(0))
        assert isinstance(fitted.inputs, CachedInputs if max_bytes else ImageInputs)
        assert fitted.inputs.after == "block4"
        histories.append([epoch["train_loss"] for epoch in fitted.history])
    assert histories[0] == pytest.approx(histories[1], rel=1e-4)


def test_folds_share_the_features() -> None:
    session = make_session("linear_probe")
    for fold in range(2):
        session.fit(session.dataset.split(0, num_folds=2, fold=fold))
    seconds = session.preparation.seconds
    session.fit(session.dataset.split(1))
    assert session.preparation.seconds == seconds


def test_fully_convolutional_head_reads_cached_maps_as_it_reads_images(monkeypatch: pytest.MonkeyPatch) -> None:
    histories = []
    for max_bytes in (preparation.MAX_ACTIVATION_BYTES, 0):
        monkeypatch.setattr(preparation, "MAX_ACTIVATION_BYTES", max_bytes)
        session = make_session("feature_extraction", head="fully_convolutional", input_size_px=64)
        assert (session.config.feature_stage, session.config.pooling) == ("head_conv", "none")
        fitted = session.fit(session.dataset.split(0))
        assert isinstance(fitted.inputs, CachedInputs if max_bytes else ImageInputs)
        assert session.features(fitted, np.arange(3)).shape == (3, fitted.classifier.spec.feature_dim)
        histories.append([epoch["train_loss"] for epoch in fitted.history])
    assert histories[0] == pytest.approx(histories[1], rel=1e-4)
    with torch.no_grad():  # images of any size
        assert fitted.classifier.eval()(torch.randn(2, 3, 96, 32)).shape == (2, 2)


def test_preprocessing_is_applied_to_images_and_to_cached_features_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    histories = []
    for max_bytes in (preparation.MAX_ACTIVATION_BYTES, 0):
        monkeypatch.setattr(preparation, "MAX_ACTIVATION_BYTES", max_bytes)
        session = make_session("partial_finetuning", unfreeze_from="block5", preprocessing="brightness", epochs=1)
        fitted = session.fit(session.dataset.split(0))
        assert isinstance(fitted.inputs, CachedInputs if max_bytes else ImageInputs)
        histories.append(fitted.history[0]["train_loss"])
    assert session.preparation.enhancement.mean_rgb is not None
    assert histories[0] == pytest.approx(histories[1], rel=1e-4)
    plain = make_session("partial_finetuning", unfreeze_from="block5", epochs=1)
    assert plain.fit(plain.dataset.split(0)).history[0]["train_loss"] != pytest.approx(histories[0], rel=1e-4)


CONFIG = TrainConfig(dataset="d")


def table(groups):
    return pd.DataFrame({"group_id": groups})


def checked(development: Development, targets: np.ndarray) -> Development:
    """No row twice, none in its own fit, groups whole, every class in every fit."""
    held = development.held_rows
    assert len(np.unique(held)) == len(held)
    for rows, out in development.folds:
        assert not np.intersect1d(development.units[rows], development.units[out]).size
        assert set(targets[rows]) == set(targets[development.rows])
        assert np.isin(rows, development.rows).all()
    return development


def test_training_and_validation_are_joined_and_each_image_is_held_out_once():
    targets = np.arange(100) % 4
    split = assign_splits(targets, None, None, split_seed=0)
    found = checked(development_of(targets, table([""] * 100), split, CONFIG), targets)
    assert np.array_equal(found.rows, np.flatnonzero(split != "test"))
    assert np.array_equal(np.sort(found.held_rows), found.rows)
    assert len(found.folds) == 5
    assert found.is_out_of_fold
    for _, held in found.folds:
        assert np.bincount(targets[held]).tolist() == [4] * 4  # 80 images, 20 a class, stratified into five
    again = development_of(targets, table([""] * 100), split, CONFIG)
    assert all(np.array_equal(a[1], b[1]) for a, b in zip(found.folds, again.folds, strict=True))


def test_patients_stay_together():
    targets = np.repeat(np.arange(2), 40)
    groups = [f"patient {row // 2}" for row in range(80)]
    split = assign_splits(targets, np.array(groups), None, split_seed=3)
    found = checked(development_of(targets, table(groups), split, CONFIG), targets)
    assert len(found.folds) == 5
    assert not np.isin(found.units[found.rows], found.units[split == "test"]).any()


@pytest.mark.parametrize("groups_a_class", [3, 4, 5])
def test_few_patients_a_class_are_all_held_out_all_the_same(groups_a_class):
    targets = np.repeat(np.arange(3), 2 * groups_a_class)
    groups = [f"{row // 2}" for row in range(len(targets))]
    split = assign_splits(targets, np.array(groups), None, split_seed=0)
    found = checked(development_of(targets, table(groups), split, CONFIG), targets)
    assert 2 <= len(found.folds) <= 5
    assert np.array_equal(np.sort(found.held_rows), np.flatnonzero(split != "test"))


def test_a_class_with_a_single_group_falls_back_on_the_split():
    targets = np.array([0, 0, 0, 0, 1, 0, 0, 1])
    split = np.array(["train"] * 5 + ["val"] * 2 + ["test"])
    found = development_of(targets, table([""] * 8), split, CONFIG)
    assert [part.tolist() for part in found.folds[0]] == [[0, 1, 2, 3, 4], [5, 6]]
    assert len(found.folds) == 1
    assert found.rows.tolist() == list(range(7))
    assert found.is_out_of_fold


def test_a_capped_number_of_training_images_stays_what_it_is():
    targets = np.arange(60) % 2
    split = assign_splits(targets, None, None, split_seed=0)
    capped = TrainConfig(dataset="d", max_train_per_class=5)
    found = development_of(targets, table([""] * 60), split, capped)
    assert np.array_equal(found.rows, np.flatnonzero(split == "train"))
    assert np.array_equal(found.held_rows, np.flatnonzero(split == "val"))
    assert not found.is_out_of_fold


def test_a_start_for_further_training_never_looks_at_validation_images():
    targets = np.arange(60) % 2
    split = assign_splits(targets, None, None, split_seed=0)
    found = checked(development_apart(targets, table([""] * 60), split, CONFIG), targets)
    train = np.flatnonzero(split == "train")
    assert np.array_equal(found.rows, train)
    assert np.array_equal(np.sort(found.held_rows), train)


def test_images_that_stand_alone():
    targets = np.arange(20) % 2
    found = checked(development_within(targets, np.arange(10)), targets)
    assert np.array_equal(np.sort(found.held_rows), np.arange(10))
