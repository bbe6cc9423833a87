import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch

from lib.training import events
from lib.training.events import (
    EpochEnded,
    EpochSums,
    FitState,
    Noticed,
    PhaseStarted,
    Progressed,
    Recorder,
    StepEnded,
    Throughput,
    are_finite,
    copied,
    progress_events,
    put_back,
    tuned_tensors,
)
from lib.training.inputs import epoch_batches
from tests.training.tiny import TinyNetwork


def test_speed_and_time_left_by_hand() -> None:
    now = [0.0]
    pace = Throughput(100, clock=lambda: now[0])
    assert pace.seconds_left is None
    now[0] = 2.0
    pace.add(10, cost=3)
    assert pace.images_per_second == 5.0
    assert pace.seconds_left == pytest.approx(2.0 * 70 / 30)


def test_what_was_done_before_an_interruption_does_not_count_as_speed() -> None:
    now = [0.0]
    pace = Throughput(100, done=50, clock=lambda: now[0])
    now[0] = 1.0
    pace.add(10)
    assert pace.seconds_left == pytest.approx(4.0)  # 40 left at 10 a second
    pace.add(100)
    assert pace.seconds_left == 0.0


class Sink:
    def __init__(self) -> None:
        self.metrics: list[tuple[dict[str, float], int | None]] = []
        self.beats: list[dict[str, Any]] = []
        self.notes: list[str] = []
        self.confusions: list[dict[str, Any]] = []

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self.metrics.append((dict(metrics), step))

    def heartbeat(self, **progress: Any) -> None:
        self.beats.append(progress)

    def log_confusion(self, entry: Mapping[str, Any]) -> None:
        self.confusions.append(dict(entry))

    def note(self, text: str) -> None:
        self.notes.append(text)


def test_steps_are_thinned_to_one_a_second_and_a_thousand(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(events.time, "monotonic", lambda: now[0])
    sink = Sink()
    recorder = Recorder(sink)
    for step in range(1, 11):
        now[0] = step * 0.25
        recorder(StepEnded(step, loss=float(step), learning_rate=0.1))
    assert [step for _, step in sink.metrics] == [1, 5, 9]
    for step in range(11, 2000):
        now[0] += 1.0
        recorder(StepEnded(step, loss=0.0, learning_rate=0.1))
    assert len(sink.metrics) == 1000


def test_phases_progress_and_epochs_reach_the_run_and_the_listener() -> None:
    sink, heard = Sink(), []
    recorder = Recorder(sink, heard.append)
    recorder.prefix = "fold_2_"
    events = [
        PhaseStarted("Training"), Progressed("Training", 1, 4, 20.0, 3.5, "fits", 640),
        EpochEnded(1, 2, {"val_accuracy": 0.5}), Noticed("Memory ran out."),
    ]  # fmt: skip
    for event in events:
        recorder(event)
    assert heard == events
    assert sink.metrics == [({"fold_2_val_accuracy": 0.5}, 1)]
    assert sink.notes == ["Fold 2: Memory ran out."]
    assert sink.beats[0] == {"phase": "Fold 2: Training"}
    assert sink.beats[1] == {
        "phase": "Fold 2: Training", "done": 1, "total": 4, "images_per_second": 20.0, "seconds_left": 3.5,
        "unit": "fits", "num_images": 640,
    }  # fmt: skip
    assert sink.beats[2] == {"epoch": 1, "epochs": 2}


def test_steps_and_epochs_carry_gradient_rate_and_confusion() -> None:
    sink = Sink()
    recorder = Recorder(sink)
    recorder.prefix = "fold_1_"
    recorder(StepEnded(1, 0.5, 0.1, 2.0))
    recorder(EpochEnded(3, 4, {"val_loss": 0.5}, ((4, 1), (0, 5))))
    recorder(EpochEnded(4, 4, {"val_loss": 0.5}))
    assert sink.metrics[0] == (
        {"fold_1_train_step_loss": 0.5, "fold_1_step_gradient_norm": 2.0, "fold_1_step_learning_rate": 0.1}, 1
    )  # fmt: skip
    assert sink.confusions == [{"prefix": "fold_1_", "epoch": 3, "matrix": [[4, 1], [0, 5]]}]


def test_progress_tells_speed_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    from lib.training import events

    now = [0.0]
    monkeypatch.setattr(events.Throughput.__init__, "__kwdefaults__", {"done": 0, "clock": lambda: now[0]})
    events: list[Progressed] = []
    listener: Callable = events.append
    report = progress_events("Extracting features", listener)
    report(0, 100, "")
    now[0] = 2.0
    report(20, 100, "")
    assert (events[0].done, events[0].seconds_left) == (0, None)
    assert (events[1].done, events[1].images_per_second, events[1].seconds_left) == (20, 10.0, 8.0)


def test_epoch_means_weigh_batches_by_their_images() -> None:
    sums = EpochSums()
    sums.add(loss=1.0, weight=4.0, num_correct=3, num_images=4)
    sums.add(loss=4.0, weight=1.0, num_correct=1, num_images=1)
    # (4 * 1 + 1 * 4) / 5 and 4 / 5; the mean of batch means would say 2.5.
    assert sums.metrics == pytest.approx({"train_loss": 1.6, "train_accuracy": 0.8, "gradient_norm": 0.0})


def test_state_survives_a_checkpoint() -> None:
    state = FitState(step=5, batches_done=2)
    state.sums.add(1.0, 2.0, 1, 2)
    assert FitState.from_dict(dataclasses.asdict(state)) == state
    assert state.best_loss == math.inf


def test_patience_counts_epochs_after_the_best() -> None:
    state = FitState()
    for loss in (1.0, 0.5, 0.7, 0.6):
        state.end_epoch({"val_loss": loss})
    assert (state.best_epoch, state.epoch) == (2, 5)
    assert state.is_complete(epochs=10, patience=2)
    assert not state.is_complete(epochs=10, patience=3)
    assert state.is_complete(epochs=4, patience=100)


def test_put_back_undoes_changes_and_refuses_foreign_tensors() -> None:
    network = TinyNetwork()
    kept = copied(tuned_tensors(network))
    with torch.no_grad():
        network.head[1].weight.add_(1.0)
    put_back(network, kept)
    assert torch.equal(network.head[1].weight, kept["head.1.weight"])
    del kept["head.1.weight"]
    with pytest.raises(ValueError, match=r"head\.1\.weight"):
        put_back(network, kept)


def test_batches_are_a_shuffle_without_a_small_rest() -> None:
    batches = epoch_batches(np.arange(10, 19), batch_size=4, seed=1)
    assert [len(batch) for batch in batches] == [3, 3, 3]  # not 4, 4, 1
    assert sorted(np.concatenate(batches)) == list(range(10, 19))
    same = epoch_batches(np.arange(10, 19), batch_size=4, seed=1)
    other = epoch_batches(np.arange(10, 19), batch_size=4, seed=2)
    assert np.array_equal(np.concatenate(batches), np.concatenate(same))
    assert not np.array_equal(np.concatenate(batches), np.concatenate(other))


def test_weights_that_are_not_numbers_are_seen() -> None:
    assert are_finite({"a": torch.ones(2), "b": torch.tensor(3)})
    assert not are_finite({"a": torch.tensor([1.0, float("nan")])})
    assert not are_finite({"a": torch.tensor([1.0, float("inf")])})
