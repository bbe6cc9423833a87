import numpy as np
import pytest
import torch

from lib.training import preparation
from lib.training.inputs import CachedInputs, ImageInputs
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
