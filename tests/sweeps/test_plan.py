from dataclasses import dataclass

import pytest

from lib.errors import UserError
from lib.sweeps.plan import SweepPlan


@dataclass(frozen=True)
class Walk(SweepPlan):
    folder, id_field = "walks", "walk_id"
    noun, nouns = "walk", "walks"
    entries = ()

    walk_id: str = ""
    created_s: float = 0.0
    steps: int = 1

    @classmethod
    def parse(cls, content):
        if content["steps"] > 9:
            raise UserError("too far")
        return cls(**content)


FIRST, SECOND = Walk("ab10", 1.0), Walk("ab22", 2.0, steps=3)


@pytest.fixture(autouse=True)
def _kept(home):
    FIRST.write()
    SECOND.write()


def test_plans_are_found_by_their_id_the_beginning_of_it_or_as_the_latest():
    assert Walk.newest_first() == [SECOND, FIRST]
    assert Walk.find("latest") == Walk.find("ab2") == SECOND
    assert Walk.find("ab10") == FIRST
    assert FIRST.files.state.with_suffix(".plan.json").is_file()


@pytest.mark.parametrize("wrong", ["ab", "cd", "", "zz", "../ab10"])
def test_an_id_that_is_unknown_or_means_several_names_those_that_there_are(wrong):
    with pytest.raises(UserError, match=r"There is no walk '.*'; the walks here: ab22, ab10\."):
        Walk.find(wrong)


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"walk_id": "aa", "created_s": 3, "steps": 10}'])
def test_a_plan_that_cannot_be_read_is_passed_over(content):
    Walk("aa").files.state.with_suffix(".plan.json").write_text(content)
    assert Walk.newest_first() == [SECOND, FIRST]
