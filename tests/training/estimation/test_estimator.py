import numpy as np
import pytest

from lib import disk_cache
from lib.data.subset import apply_protocol
from lib.training.estimation import Estimate, estimate_training, estimator, kept_estimate
from lib.training.estimation.estimator import EnhancementPlan, plan_cache
from lib.training.network import Compute
from lib.training.session import TrainingSession
from tests.features.tiny_dataset import TinyDataset
from tests.training.test_session import make_session


def measure(strategy: str, dataset: TinyDataset | None = None, **changes: object) -> tuple[Estimate, TrainingSession]:
    session = make_session(strategy, dataset, **changes)
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
    session.preparation.inputs(session.new_classifier())
    again = estimate_training(session.config, session.dataset, Compute())
    assert again.seconds_features == 0.0
    assert again.seconds_total < found.seconds_total + 5


def test_a_time_budget_says_how_many_epochs_it_becomes(monkeypatch) -> None:
    monkeypatch.setattr(
        estimator,
        "run_trial_steps",
        lambda *a, **o: estimator.TrialSteps(step_s=1.0, evaluation_image_s=0.0, num_steps=3),
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
    assert found.cache_mib * 2**20 == pytest.approx(written, rel=0.01, abs=512)  # a file's head and checksums
    again = estimate_training(session.config, session.dataset, Compute())
    assert (again.cache_mib, "are in the cache" in again.cache_why) == (0.0, True)


def test_preprocessed_images_count_until_they_are_in_the_cache() -> None:
    plain, _ = measure("feature_extraction")
    found, session = measure("feature_extraction", preprocessing="brightness+clahe")
    pixels = session.dataset.pixels
    assert found.seconds_preprocessing > 0
    assert plain.seconds_preprocessing == 0
    assert "preprocessed images (brightness, clahe)" in found.cache_why
    assert found.cache_mib - plain.cache_mib == pytest.approx(pixels.nbytes / 2**20)
    before = disk_cache.usage().used_bytes
    session.preparation.enhance(session.dataset.split(0))
    session.preparation.inputs(session.new_classifier())
    assert found.cache_mib * 2**20 == pytest.approx(disk_cache.usage().used_bytes - before, rel=0.01)
    again = estimate_training(session.config, session.dataset, Compute())
    assert (again.seconds_preprocessing, again.seconds_features, again.cache_mib) == (0.0, 0.0, 0.0)


def test_plain_features_do_not_stand_in_for_those_of_preprocessed_images_or_of_a_part() -> None:
    plain = make_session("linear_probe")
    plain.preparation.inputs(plain.new_classifier())
    assert measure("linear_probe")[0].seconds_features == 0.0
    assert measure("linear_probe", preprocessing="clahe")[0].seconds_features > 0
    config = make_session("linear_probe", max_per_class=8).config
    part = apply_protocol(plain.dataset, config)
    assert estimate_training(config, part, Compute()).seconds_features > 0
    session = make_session("linear_probe", part, max_per_class=8)
    session.preparation.inputs(session.new_classifier())
    assert estimate_training(config, part, Compute()).seconds_features == 0.0


def test_steps_on_images_that_are_not_preprocessed_yet_are_measured_on_a_few(monkeypatch) -> None:
    asked: list[np.ndarray] = []
    made = estimator.MadePixels.__getitem__
    monkeypatch.setattr(estimator.MadePixels, "__getitem__", lambda self, rows: asked.append(rows) or made(self, rows))
    found, _ = measure("full_finetuning", TinyDataset(num_images=200), preprocessing="clahe")
    assert (found.num_steps_measured, found.cache_mib) == (3, pytest.approx(200 * 32 * 32 * 3 / 2**20))
    assert len(set(np.concatenate(asked))) <= 40


def test_the_probe_that_fine_tuning_starts_from_has_features_too() -> None:
    found, session = measure("probe_then_finetune")
    assert found.seconds_features > 0
    assert found.cache_mib * 2**20 == pytest.approx(24 * session.spec.feature_dim * 4)
    session.preparation.plain_features(session.new_classifier())
    again = estimate_training(session.config, session.dataset, Compute())
    assert (again.seconds_features, again.cache_mib) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("strategy", "augmentation", "why"),
    [("full_finetuning", "flip", "every stage is trained"), ("feature_extraction", "modern", "new images each epoch")],
)
def test_no_cache_has_a_reason(strategy: str, augmentation: str, why: str) -> None:
    preparation = make_session(strategy, augmentation=augmentation).preparation
    need = plan_cache(preparation, None, num_values=0, num_missing=0)
    assert need.mib == 0.0
    assert why in need.why


def test_every_fold_with_a_mean_colour_of_its_own_is_counted() -> None:
    dataset = TinyDataset()
    config = make_session("linear_probe", dataset, preprocessing="brightness", num_folds=3).config
    dataset.pixels[dataset.split(0, num_folds=3, fold=0) == "test"] //= 3
    need = EnhancementPlan(dataset, config)
    assert len(need.splits) == 4
    assert 2 <= len(need.named) <= 4
    assert need.mib == pytest.approx(len(need.named) * dataset.pixels.nbytes / 2**20)
    found = estimate_training(config, dataset, Compute())
    assert f"for {len(need.named)} mean colours" in found.cache_why
