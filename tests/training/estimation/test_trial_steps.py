import numpy as np
import pytest
import torch

from lib.errors import Stopped
from lib.training.estimation import trial_steps
from lib.training.estimation.trial_steps import NUM_STEPS, TrialSteps, run_trial_steps
from lib.training.events import EpochEnded, StepEnded
from lib.training.network import Compute
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
