from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from lib.errors import Stopped, UserError
from lib.training.checkpoints import CheckpointStore
from lib.training.config import TrainConfig
from lib.training.estimation import trial_steps
from lib.training.estimation.trial_steps import (
    NUM_STEPS,
    TimeBudget,
    TrialSteps,
    epochs_within,
    read_decision,
    run_trial_steps,
)
from lib.training.events import EpochEnded, FitState, Noticed, StepEnded, TimeLimit
from lib.training.network import Compute
from lib.training.resolution import resolve_config
from lib.training.trainer import Trainer
from tests.features.tiny_dataset import TinyDataset
from tests.training.tiny import TinyNetwork, tiny_config, tiny_data


def test_epoch_by_hand() -> None:
    measured = TrialSteps(step_s=0.5, evaluation_image_s=0.01, num_steps=3)
    # 100 images in batches of 20 are 5 steps; 30 validation images.
    assert measured.epoch_s(num_train=100, num_val=30, batch_size=20) == pytest.approx(5 * 0.5 + 30 * 0.01)


def test_three_real_steps_leave_no_trace_in_the_network() -> None:
    network, data = TinyNetwork(), tiny_data(8)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    measured = run_trial_steps(network, data, tiny_config(batch_size=4), Compute())
    assert measured.num_steps == NUM_STEPS
    assert 0 < measured.step_s < 5
    assert 0 < measured.evaluation_image_s < 1
    after = network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(parameter.grad is None for parameter in network.parameters())


def test_a_step_is_the_time_since_the_last_event_so_that_validation_does_not_count(monkeypatch) -> None:
    now = [0.0]
    monkeypatch.setattr(trial_steps.time, "perf_counter", lambda: now[0])
    clock = trial_steps._StepClock()
    for moment, event in ((1, StepEnded(1, 0.5, 0.1)), (8, EpochEnded(1, 2)), (10, StepEnded(2, 0.5, 0.1))):
        now[0] = moment
        clock(event)
    assert clock.steps_s == [1, 2]


def test_stop_is_heard() -> None:
    with pytest.raises(Stopped):
        run_trial_steps(TinyNetwork(), tiny_data(8), tiny_config(), Compute(), should_stop=lambda: True)


def test_a_batch_larger_than_the_data_is_scaled_to_the_whole(monkeypatch) -> None:
    class FixedClock(trial_steps._StepClock):
        def __call__(self, event) -> None:
            if isinstance(event, StepEnded):
                self.steps_s.append(1.0)

    monkeypatch.setattr(trial_steps, "_StepClock", FixedClock)
    measured = run_trial_steps(TinyNetwork(), tiny_data(8), tiny_config(batch_size=16), Compute())
    # A step over 8 images took 1 s, so one over 16 would take 2; an epoch of 8 images is half of that again.
    assert measured.step_s == pytest.approx(2.0)
    assert measured.epoch_s(num_train=8, num_val=0, batch_size=16) == pytest.approx(1.0)
    assert np.isfinite(measured.evaluation_image_s)


def test_predictions_after_training_are_timed_in_float32(monkeypatch) -> None:
    seconds = {"bfloat16": 0.01, "float32": 0.03}
    monkeypatch.setattr(trial_steps, "_evaluation_image_s", lambda *arguments: seconds[arguments[3]])
    for dtype in ("bfloat16", "float32"):
        measured = run_trial_steps(
            TinyNetwork(), tiny_data(8), tiny_config(batch_size=4), Compute(training_dtype=dtype)
        )
        assert (measured.evaluation_image_s, measured.prediction_image_s) == (seconds[dtype], 0.03)
    assert TrialSteps(step_s=1.0, evaluation_image_s=0.1, num_steps=3).prediction_image_s == 0.1


@pytest.fixture
def measured(monkeypatch) -> list[object]:
    """Trial steps that say: a step of 4 images 1 s, an image 0.1 s; counts how often it was asked."""
    asked: list[object] = []

    def run_trial_steps(*arguments, **options):
        asked.append(arguments)
        return TrialSteps(step_s=1.0, evaluation_image_s=0.1, num_steps=3)

    monkeypatch.setattr(trial_steps, "run_trial_steps", run_trial_steps)
    return asked


def budget_of(folder, heard=None, **changes) -> TimeBudget:
    config = tiny_config(**{"epochs": 100, "time_budget_s": 60.0, "batch_size": 4, **changes})
    listener = heard.append if heard is not None else (lambda event: None)
    return TimeBudget(config, Compute(), folder, 24, 1000.0, listener, clock=lambda: 1010.0)


def test_epochs_by_hand() -> None:
    # 8 % stays unplanned: 50 s are 46 s, which hold 4 epochs of 10 s.
    assert epochs_within(50, 10, most=100) == 4
    assert epochs_within(50, 10, most=3) == 3
    assert epochs_within(-5, 10, most=100) == 1


def test_decision_by_hand_is_kept_and_said_once(tmp_path, measured) -> None:
    heard: list[object] = []
    budget = budget_of(tmp_path, heard)
    # 8 images train and validate: an epoch is 2 steps and 8 images, 2.8 s. After it 8 test images, 16 looks at the
    # validation images and 8 at training images are 3.2 s, and saving 1.5 s. Left: (60 - 10 - 4.7) * 0.92 = 41.7 s.
    assert budget.choose(TinyNetwork(), tiny_data(8)) == 14
    decision = read_decision(tmp_path)
    assert decision is not None
    assert (decision.spent_s, decision.after_s, decision.epoch_s) == pytest.approx((10.0, 4.7, 2.8))
    assert decision.expected_s < 60
    assert [event.text for event in heard if isinstance(event, Noticed)] == [
        "To fit into 60 s: 14 epochs of about 2.8 s; the whole should take about 54 s."
    ]
    # After a resume, on a machine twice as slow, the number stays.
    assert budget_of(tmp_path, heard).choose(TinyNetwork(), tiny_data(8)) == 14
    assert (len(measured), len(heard)) == (1, 1)


def test_an_interruption_takes_its_time_from_the_training(tmp_path, measured) -> None:
    budget = budget_of(tmp_path)
    assert budget.time_limit() is None
    budget.choose(TinyNetwork(), tiny_data(8))
    assert budget.time_limit() == TimeLimit(50.0, pytest.approx(4.7 / 2.8))
    for restarts_s in (10.0, 20.0):  # each resumed process needs 10 s to its first step
        again = budget_of(tmp_path)
        again.choose(TinyNetwork(), tiny_data(8))
        assert again.time_limit() == TimeLimit(pytest.approx(50.0 - restarts_s), pytest.approx(4.7 / 2.8))
    assert budget_of(tmp_path, num_folds=4).time_limit() is None


def test_work_before_a_stop_counts_where_nothing_was_decided_yet(tmp_path, measured) -> None:
    budget = replace(budget_of(tmp_path), worked_s=25.0)
    # (60 - 10 - 25 - 4.7) * 0.92 = 18.7 s hold six epochs of 2.8 s.
    assert budget.choose(TinyNetwork(), tiny_data(8)) == 6


def test_training_ends_after_the_last_epoch_that_fits(tmp_path) -> None:
    heard: list[object] = []
    config = tiny_config(epochs=40, patience=40)
    store = CheckpointStore(tmp_path)
    result = Trainer(
        TinyNetwork(), tiny_data(8), config, limit=TimeLimit(0.0), listener=heard.append, checkpoints=store
    ).fit()
    assert len(result.history) == 1  # the first epoch is always trained
    assert [event.text for event in heard if isinstance(event, Noticed)] == [
        "Training ends after 1 of 40 epochs: another would not fit into the time given."
    ]
    assert (
        len(Trainer(TinyNetwork(), tiny_data(8), replace(config, epochs=4), limit=TimeLimit(60.0, 1.0)).fit().history)
        == 4
    )


def test_what_a_limit_allows_by_hand() -> None:
    limit = TimeLimit(50.0, closing_epochs=0.5)
    assert limit.allows(FitState(), 99.0, 4)  # the first epoch always
    # Four epochs took 36 s, so the fifth takes 9 s and the end 4.5 s; on a slower machine 10 s and 5 s.
    assert limit.allows(FitState(epoch=5), 36.0, 4)
    assert not limit.allows(FitState(epoch=5), 40.0, 4)
    # Four epochs and a half took 42 s, 9.3 s each: half a one is left, and half a one for the end.
    assert not limit.allows(FitState(epoch=5, batches_done=2), 42.0, 4)
    assert limit.allows(FitState(epoch=5, batches_done=2), 40.0, 4)


def test_folds_share_the_budget(tmp_path, measured) -> None:
    # Four folds and a last fit on 4/3 of the images: 5.33 epochs' cost for each. 41.7 / (2.8 * 5.33) = 2.8.
    assert budget_of(tmp_path, num_folds=4).choose(TinyNetwork(), tiny_data(8)) == 2


def test_says_so_where_one_epoch_is_too_much_or_the_limit_counts(tmp_path, measured) -> None:
    heard: list[Noticed] = []
    assert budget_of(tmp_path / "a", heard, time_budget_s=12.0).choose(TinyNetwork(), tiny_data(8)) == 1
    assert "does not fit into 12 s" in heard[0].text
    assert budget_of(tmp_path / "b", heard, epochs=5).choose(TinyNetwork(), tiny_data(8)) == 5
    assert "the most that was asked for" in heard[1].text


def test_resolution_gives_room_and_drops_what_has_no_epochs() -> None:
    dataset = TinyDataset()
    config = TrainConfig(dataset="tiny", strategy="full_finetuning", time_budget_s=90.0)
    assert resolve_config(config, dataset).epochs == 80
    assert resolve_config(replace(config, epochs=7), dataset).epochs == 7
    assert resolve_config(replace(config, strategy="linear_probe"), dataset).time_budget_s is None
    assert "--time-budget 90.0" in config.to_command()
    with pytest.raises(UserError, match="time_budget_s must lie between 1 and"):
        TrainConfig(dataset="tiny", time_budget_s=0.0)


def test_a_session_trains_the_chosen_number_and_its_schedule_reaches_the_end() -> None:
    from tests.training.test_session import make_session

    session = make_session("from_scratch", epochs=50, patience=50)
    session.budget = SimpleNamespace(choose=lambda classifier, data: 3, time_limit=lambda: None)
    history = session.fit(session.dataset.split(0)).history
    assert len(history) == 3
    # The cosine runs over three epochs: at its end the rate is nearly zero.
    assert history[-1]["learning_rate"] < 0.35 * session.config.learning_rate
