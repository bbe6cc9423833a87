import dataclasses

import pytest

from lib.data.library import open_dataset
from lib.errors import UserError
from lib.sweeps.plan import SweepState
from lib.sweeps.strategies import DEFAULT_ARMS, StrategySweep, check_arms, make_plan
from lib.training.strategies import STRATEGIES


def test_arms_share_everything_but_the_strategy(plan):
    configs = [entry.config for entry in plan.entries]
    assert [config.strategy for config in configs] == list(DEFAULT_ARMS)
    assert {(c.dataset, c.seed, c.split_seed, c.input_size_px, c.pinned_images) for c in configs} == {
        ("tiny", 0, 0, None, plan.pinned_images)
    }
    assert make_plan(dataset="tiny", backbone="bundled_vgg").input_size_px == 192
    assert {c.epochs for c in configs if STRATEGIES.get(c.strategy).is_iterative} == {2}
    table = open_dataset("tiny").table.set_index("image_id")
    assert sorted(table.loc[plan.pinned_images.split(","), "target"]) == [0, 1]  # one of each class


def test_a_plan_comes_back_by_its_id_or_the_beginning_of_it(plan):
    assert (
        StrategySweep.find(plan.race_id) == StrategySweep.find(plan.race_id[:6]) == StrategySweep.find("latest") == plan
    )
    later = dataclasses.replace(plan, race_id="ffff00000000", created_s=plan.created_s + 1)
    later.write()
    assert [one.race_id for one in StrategySweep.newest_first()] == ["ffff00000000", plan.race_id]
    with pytest.raises(UserError, match=r"There is no race 'zz'; the races here: ffff00000000, "):
        StrategySweep.find("zz")


def test_the_active_race_is_the_one_with_a_living_process(plan):
    assert StrategySweep.active() is None
    plan.keep(SweepState(state="running", host="elsewhere"))
    assert StrategySweep.active() == plan
    with pytest.raises(UserError, match="is running; wait for it, or stop it first"):
        make_plan(dataset="tiny").refuse_second()


def test_the_ladder_keeps_its_order_and_needs_two_arms(runner):
    assert check_arms(("from_scratch", "linear_probe", "from_scratch")) == ("linear_probe", "from_scratch")
    with pytest.raises(UserError, match="Unknown rung 'flying'"):
        check_arms(("flying", "linear_probe"))
    with pytest.raises(UserError, match="at least two rungs, received linear_probe"):
        make_plan(dataset="tiny", rungs=("linear_probe",))
    with pytest.raises(UserError, match="no image 'nobody' to pin"):
        make_plan(dataset="tiny", pinned_images="nobody")


def test_the_estimate_grows_with_epochs_and_images(plan):
    assert dataclasses.replace(plan, num_images=1000, epochs=6).expected_s > 1.5 * (
        dataclasses.replace(plan, num_images=1000, epochs=3).expected_s
    )


def test_arms_have_their_recipes_figure_where_the_data_fit(plan):
    spec = open_dataset("tiny").spec
    assert plan.published_lines(spec, "accuracy") == {}  # red and blue squares: no study is about them
    grades = ("0", "1", "2", "3", "4")
    fundus = dataclasses.replace(spec, crop_policy="retina_box", is_ordinal=True, class_names=grades)
    kappa = plan.published_lines(fundus, "quadratic_weighted_kappa")
    assert kappa["linear_probe"].value == pytest.approx(0.51096)
    accuracy = plan.published_lines(fundus, "accuracy")
    assert accuracy["from_scratch"].value == pytest.approx(0.4)
    assert "from_scratch" not in kappa  # that study gives no kappa
    assert "nearest_neighbors" not in accuracy
