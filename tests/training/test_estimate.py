import pytest

from lib import disk_cache
from lib.training import measurement
from lib.training.cache_need import cache_need
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


def test_the_cache_that_is_announced_is_the_cache_that_is_written() -> None:
    found, session = measure("partial_finetuning", augmentation="flip")
    assert "activations" in found.cache_why
    before = disk_cache.usage().used_bytes
    session.preparation.inputs(session.new_classifier())
    written = disk_cache.usage().used_bytes - before
    assert found.cache_mib * 2**20 == pytest.approx(written, rel=0.01)
    again = estimate_training(session.config, session.dataset, Compute())
    assert (again.cache_mib, "are in the cache" in again.cache_why) == (0.0, True)


@pytest.mark.parametrize(
    ("strategy", "augmentation", "why"),
    [("full_finetuning", "flip", "every stage is trained"), ("feature_extraction", "modern", "new images each epoch")],
)
def test_no_cache_has_a_reason(strategy: str, augmentation: str, why: str) -> None:
    preparation = make_session(strategy, augmentation=augmentation).preparation
    need = cache_need(preparation, None, num_values=0, num_missing=0)
    assert need.mib == 0.0
    assert why in need.why
