from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from lib.errors import Stopped
from lib.training import session as sessions
from lib.training.checkpoints import CheckpointStore
from lib.training.compute import Compute
from lib.training.config import TrainConfig
from lib.training.events import Progressed
from lib.training.inputs import CachedInputs, ImageInputs
from lib.training.resolution import resolve_config
from lib.training.session import TrainingSession, paced_progress
from lib.training.strategies import STRATEGIES
from tests.features.tiny_dataset import TinyDataset


def make_session(strategy: str, dataset: TinyDataset | None = None, **changes: object) -> TrainingSession:
    dataset = dataset or TinyDataset()
    settings: dict = {"epochs": 2, "batch_size": 8, "input_size_px": 32, "weights": "random"}
    should_stop = changes.pop("should_stop", lambda: False)
    listener = changes.pop("listener", lambda event: None)
    config = TrainConfig(dataset="tiny", backbone="mobilenet_v3_small", strategy=strategy, **(settings | changes))
    return TrainingSession(
        resolve_config(config, dataset), dataset, Compute(), listener=listener, should_stop=should_stop
    )


def state_of(classifier: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {key: tensor.clone() for key, tensor in classifier.state_dict().items()}


@pytest.mark.parametrize("strategy", STRATEGIES.names)
def test_every_strategy_fits_predicts_and_repeats(strategy: str) -> None:
    session = make_session(strategy)
    split = session.dataset.split(0)
    fitted = session.fit(split)
    rows = np.flatnonzero(split == "test")
    probabilities = session.probabilities(fitted, rows)
    assert probabilities.shape == (len(rows), 2)
    assert probabilities.sum(1) == pytest.approx(1.0)
    assert session.features(fitted, rows).shape == (len(rows), fitted.classifier.spec.feature_dim)
    spec = STRATEGIES.get(strategy)
    assert len(fitted.history) == (2 if spec.is_iterative else 0)
    assert isinstance(fitted.inputs, ImageInputs if spec.trains_backbone == "all" else CachedInputs)
    again = make_session(strategy).fit(split)
    assert np.array_equal(make_session(strategy).probabilities(again, rows), probabilities)


@pytest.mark.parametrize("strategy", ["nearest_neighbors", "linear_probe", "feature_extraction"])
def test_frozen_strategies_leave_the_backbone_untouched(strategy: str) -> None:
    session = make_session(strategy)
    before = state_of(session.new_classifier().stages)
    after = state_of(session.fit(session.dataset.split(0)).classifier.stages)
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_partial_finetuning_trains_from_the_named_stage_up_and_caches_below() -> None:
    session = make_session("partial_finetuning", unfreeze_from="block5")
    before = state_of(session.new_classifier().stages)
    fitted = session.fit(session.dataset.split(0))
    after = state_of(fitted.classifier.stages)
    changed = {key.split(".")[0] for key in before if not torch.equal(before[key], after[key])}
    assert changed == {"block5", "head_conv"}
    assert isinstance(fitted.inputs, CachedInputs)
    assert fitted.inputs.after == "block4"


def test_partial_finetuning_with_and_without_cache_gives_the_same_losses(monkeypatch: pytest.MonkeyPatch) -> None:
    histories = []
    for max_bytes in (sessions.MAX_ACTIVATION_BYTES, 0):
        monkeypatch.setattr(sessions, "MAX_ACTIVATION_BYTES", max_bytes)
        session = make_session("partial_finetuning", unfreeze_from="block5")
        fitted = session.fit(session.dataset.split(0))
        assert isinstance(fitted.inputs, CachedInputs if max_bytes else ImageInputs)
        histories.append([epoch["train_loss"] for epoch in fitted.history])
    assert histories[0] == pytest.approx(histories[1], rel=1e-4)


def test_folds_share_the_features() -> None:
    session = make_session("linear_probe")
    for fold in range(2):
        session.fit(session.dataset.split(0, num_folds=2, fold=fold))
    seconds = session.feature_seconds
    session.fit(session.dataset.split(1))
    assert session.feature_seconds == seconds


@pytest.mark.parametrize("strategy", ["feature_extraction", "partial_finetuning"])
def test_stopped_and_resumed_in_a_new_session_equals_unbroken(tmp_path, strategy: str) -> None:
    split = TinyDataset().split(0)
    expected = make_session(strategy).fit(split)
    steps: list[object] = []

    def count(event: object) -> None:
        if isinstance(event, Progressed) and event.phase == "Training":
            steps.append(event)

    stopped = make_session(strategy, listener=count, should_stop=lambda: len(steps) >= 2)
    with pytest.raises(Stopped):
        stopped.fit(split, CheckpointStore(tmp_path))
    resumed = make_session(strategy).fit(split, CheckpointStore(tmp_path))
    first, second = state_of(expected.classifier), state_of(resumed.classifier)
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("strategy", ["linear_probe", "full_finetuning"])
def test_stop_before_training_is_heard(strategy: str) -> None:
    with pytest.raises(Stopped):
        make_session(strategy, should_stop=lambda: True).fit(TinyDataset().split(0))


@pytest.mark.parametrize("strategy", ["linear_probe", "feature_extraction"])
def test_imbalance_is_weighed(strategy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = TinyDataset(counts=(30, 5))
    session = make_session(strategy, dataset)
    assert session.config.class_weights == "auto"
    plain = make_session(strategy, TinyDataset(counts=(30, 5)), class_weights="none")
    split, rows = dataset.split(0), np.arange(35)
    weighted = session.probabilities(session.fit(split), rows)[:, 1].mean()
    assert weighted > plain.probabilities(plain.fit(split), rows)[:, 1].mean()


def test_fine_tuning_with_an_mlp_head() -> None:
    session = make_session("full_finetuning", head="mlp", epochs=1)
    fitted = session.fit(session.dataset.split(0))
    assert fitted.classifier.head_options["name"] == "mlp"


def test_features_keep_their_format_apart_from_training() -> None:
    session = make_session("linear_probe")
    session.compute = replace(session.compute, dtype="bfloat16")
    assert session.used_dtype == "bfloat16"
    assert make_session("full_finetuning").used_dtype == "float32"


def test_progress_tells_speed_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    from lib.training import pace

    now = [0.0]
    monkeypatch.setattr(pace.Pace.__init__, "__kwdefaults__", {"done": 0, "clock": lambda: now[0]})
    events: list[Progressed] = []
    listener: Callable = events.append
    report = paced_progress("Extracting features", listener)
    report(0, 100, "")
    now[0] = 2.0
    report(20, 100, "")
    assert (events[0].done, events[0].seconds_left) == (0, None)
    assert (events[1].done, events[1].images_per_second, events[1].seconds_left) == (20, 10.0, 8.0)


def test_fully_convolutional_head_reads_cached_maps_as_it_reads_images(monkeypatch: pytest.MonkeyPatch) -> None:
    histories = []
    for max_bytes in (sessions.MAX_ACTIVATION_BYTES, 0):
        monkeypatch.setattr(sessions, "MAX_ACTIVATION_BYTES", max_bytes)
        session = make_session("feature_extraction", head="fully_convolutional", input_size_px=64)
        assert (session.config.feature_stage, session.config.pooling) == ("head_conv", "none")
        fitted = session.fit(session.dataset.split(0))
        assert isinstance(fitted.inputs, CachedInputs if max_bytes else ImageInputs)
        assert session.features(fitted, np.arange(3)).shape == (3, 576)
        histories.append([epoch["train_loss"] for epoch in fitted.history])
    assert histories[0] == pytest.approx(histories[1], rel=1e-4)
    with torch.no_grad():  # images of any size
        assert fitted.classifier.eval()(torch.randn(2, 3, 96, 32)).shape == (2, 2)


def test_network_cut_at_its_last_vector_learns_only_a_new_sigmoid_unit() -> None:
    session = make_session("feature_extraction", head="linear", feature_stage="last_vector", output="sigmoid")
    assert (session.config.feature_stage, session.config.pooling) == ("fc1", "none")
    before = state_of(session.new_classifier().stages)
    fitted = session.fit(session.dataset.split(0))
    after = state_of(fitted.classifier.stages)
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert [parameter.shape for parameter in fitted.classifier.head.parameters()] == [(1, 1024), (1,)]
    assert session.probabilities(fitted, np.arange(5)).sum(1) == pytest.approx(1.0)
