from dataclasses import dataclass

import pytest

from lib.errors import UserError
from lib.series.plans import KeptPlans


@dataclass(frozen=True)
class Walk:
    plan_id: str
    created_s: float
    steps: int = 1


def parse(content):
    if content["steps"] > 9:
        raise UserError("too far")
    return Walk(**content)


WALKS = KeptPlans("walks", parse, noun="walk", nouns="walks")
FIRST, SECOND = Walk("ab10", 1.0), Walk("ab22", 2.0, steps=3)


@pytest.fixture(autouse=True)
def _kept(home):
    WALKS.write(FIRST)
    WALKS.write(SECOND)


def test_plans_are_found_by_their_id_the_beginning_of_it_or_as_the_latest():
    assert WALKS.newest_first() == [SECOND, FIRST]
    assert WALKS.find("latest") == WALKS.find("ab2") == SECOND
    assert WALKS.find("ab10") == FIRST
    assert WALKS.state_file("ab10").with_suffix(".plan.json").is_file()


@pytest.mark.parametrize("wrong", ["ab", "cd", "", "zz", "../ab10"])
def test_an_id_that_is_unknown_or_means_several_names_those_that_there_are(wrong):
    with pytest.raises(UserError, match=r"There is no walk '.*'; the walks here: ab22, ab10\."):
        WALKS.find(wrong)


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"plan_id": "aa", "created_s": 3, "steps": 10}'])
def test_a_plan_that_cannot_be_read_is_passed_over(content):
    WALKS.state_file("aa").with_suffix(".plan.json").write_text(content)
    assert WALKS.newest_first() == [SECOND, FIRST]
