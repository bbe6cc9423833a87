import pytest

from lib.training.estimation import estimate_training
from lib.training.estimation.cache_plan import EnhancementPlan, plan_cache
from lib.training.network import Compute
from tests.features.tiny_dataset import TinyDataset
from tests.training.test_session import make_session


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
