import dataclasses

import pytest

from lib.data.library import open_dataset
from lib.errors import UserError
from lib.race import DEFAULT_RUNGS, active_race, list_plans, make_plan, read_plan, write_plan
from lib.race.rungs import check_rungs
from lib.series import SeriesState, write_series
from lib.training.strategies import STRATEGIES


def test_rungs_share_everything_but_the_strategy(plan):
    configs = [entry.config for entry in plan.entries]
    assert [config.strategy for config in configs] == list(DEFAULT_RUNGS)
    assert {(c.dataset, c.seed, c.split_seed, c.input_size_px, c.pinned_images) for c in configs} == {
        ("tiny", 0, 0, None, plan.pinned_images)
    }
    assert make_plan(dataset="tiny", backbone="bundled_vgg").input_size_px == 192
    assert {c.epochs for c in configs if STRATEGIES.get(c.strategy).is_iterative} == {2}
    table = open_dataset("tiny").table.set_index("image_id")
    assert sorted(table.loc[plan.pinned_images.split(","), "target"]) == [0, 1]  # one of each class


def test_a_plan_comes_back_by_its_id_or_the_beginning_of_it(plan):
    assert read_plan(plan.race_id) == read_plan(plan.race_id[:6]) == read_plan("latest") == plan
    later = dataclasses.replace(plan, race_id="ffff00000000", created_s=plan.created_s + 1)
    write_plan(later)
    assert [one.race_id for one in list_plans()] == ["ffff00000000", plan.race_id]
    with pytest.raises(UserError, match=r"There is no race 'zz'; the races here: ffff00000000, "):
        read_plan("zz")


def test_the_active_race_is_the_one_with_a_living_process(plan):
    assert active_race() is None
    write_series(plan.files, SeriesState(state="running", host="elsewhere"))
    assert active_race() == plan
    with pytest.raises(UserError, match="is running; wait for it, or stop it first"):
        from lib.race.control import refuse_second

        refuse_second(make_plan(dataset="tiny"))


def test_the_ladder_keeps_its_order_and_needs_two_rungs(runner):
    assert check_rungs(("from_scratch", "linear_probe", "from_scratch")) == ("linear_probe", "from_scratch")
    with pytest.raises(UserError, match="Unknown rung 'flying'"):
        check_rungs(("flying", "linear_probe"))
    with pytest.raises(UserError, match="at least two rungs, received linear_probe"):
        make_plan(dataset="tiny", rungs=("linear_probe",))
    with pytest.raises(UserError, match="no image 'nobody' to pin"):
        make_plan(dataset="tiny", pinned_images="nobody")


def test_the_estimate_grows_with_epochs_and_images(plan):
    assert dataclasses.replace(plan, num_images=1000, epochs=6).expected_s > 1.5 * (
        dataclasses.replace(plan, num_images=1000, epochs=3).expected_s
    )
