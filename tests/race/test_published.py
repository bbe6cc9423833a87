import dataclasses

import pytest

from lib.data.library import open_dataset
from lib.race.published import published_lines


def test_rungs_have_their_recipes_figure_where_the_data_fit(plan):
    spec = open_dataset("tiny").spec
    assert published_lines(plan, spec, "accuracy") == {}  # red and blue squares: no study is about them
    grades = ("0", "1", "2", "3", "4")
    fundus = dataclasses.replace(spec, crop_policy="retina_box", is_ordinal=True, class_names=grades)
    kappa = published_lines(plan, fundus, "quadratic_weighted_kappa")
    assert kappa["linear_probe"].value == pytest.approx(0.51096)
    accuracy = published_lines(plan, fundus, "accuracy")
    assert accuracy["from_scratch"].value == pytest.approx(0.4)
    assert "from_scratch" not in kappa  # that study gives no kappa
    assert "nearest_neighbors" not in accuracy
