import numpy as np
import pytest
from sklearn.model_selection import StratifiedGroupKFold

from lib.data.grouped_folds import GroupedFolds


@pytest.mark.filterwarnings("ignore:The least populated class")
@pytest.mark.parametrize("seed", range(12))
def test_the_folds_are_those_of_scikit_learn(seed: int):
    rng = np.random.default_rng(seed)
    num_images, num_classes, num_folds = (int(rng.integers(*limits)) for limits in ((60, 200), (2, 13), (2, 9)))
    targets = rng.choice(num_classes, num_images, p=rng.dirichlet(np.ones(num_classes)))
    groups = rng.integers(0, max(num_folds + 1, num_images // int(rng.integers(1, 5))), num_images)
    options = {"n_splits": num_folds, "shuffle": True, "random_state": seed}
    ours = [held.tolist() for _, held in GroupedFolds(**options).split(targets, targets, groups)]
    theirs = [held.tolist() for _, held in StratifiedGroupKFold(**options).split(targets, targets, groups)]
    assert ours == theirs


def test_ties_go_to_the_emptiest_fold():
    targets = np.array([0, 0, 1, 1, 0, 0, 1, 1])
    groups = np.repeat(np.arange(4), 2)
    # The second group would be as even in either fold, and goes to the empty one; the others then even the classes out.
    held = [held.tolist() for _, held in GroupedFolds(2).split(targets, targets, groups)]
    assert held == [[0, 1, 6, 7], [2, 3, 4, 5]]
