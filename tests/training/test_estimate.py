import pytest

from lib.training import measurement
from lib.training.compute import Compute
from lib.training.estimate import Estimate, kept_estimate
from lib.training.measurement import estimate_training
from tests.training.test_session import make_session


def measure(strategy: str, **changes: object) -> tuple[Estimate, object]:
    session = make_session(strategy, **changes)
    return estimate_training(session.config, session.dataset, Compute()), session


@pytest.mark.parametrize("strategy", ["feature_extraction", "partial_finetuning", "full_finetuning"])
def test_iterative_strategies_are_measured_by_three_steps(strategy: str) -> None:
    found, session = measure(strategy, epochs=4)
    classifier = session.new_classifier()
    trained = sum(parameter.numel() for parameter in classifier.parameters() if parameter.requires_grad)
    assert (found.num_trained, found.epochs, found.num_steps_measured) == (trained, 4, 3)
    assert found.num_parameters == sum(parameter.numel() for parameter in classifier.parameters())
    assert found.seconds_training == pytest.approx(4 * found.epoch_s)
    assert (found.seconds_features > 0) == (strategy != "full_finetuning")
    assert found.peak_rss_mib > 50
    assert Estimate.from_dict(found.to_dict()) == found


def test_features_in_the_cache_cost_nothing_any_more_and_a_fitted_head_has_no_epochs() -> None:
    found, session = measure("linear_probe")
    assert (found.epochs, found.num_steps_measured) == (0, 0)
    assert found.seconds_features > 0
    assert found.seconds_training > 0
    session.inputs(session.new_classifier())
    again = estimate_training(session.config, session.dataset, Compute())
    assert again.seconds_features == 0.0
    assert again.seconds_total < found.seconds_total + 5


def test_a_time_budget_says_how_many_epochs_it_becomes(monkeypatch) -> None:
    monkeypatch.setattr(
        measurement, "rehearse", lambda *a, **o: measurement.Rehearsal(step_s=1.0, evaluation_image_s=0.0, num_steps=3)
    )
    # 24 images, 14 or so of them train in batches of 8: an epoch is below 2 s; 60 s hold more than 10 and at most 50.
    found, session = measure("full_finetuning", epochs=50, time_budget_s=60.0)
    assert 10 < found.epochs <= 50
    assert found.seconds_total < 60
    assert kept_estimate(session.config) != kept_estimate(make_session("full_finetuning", epochs=50).config)
