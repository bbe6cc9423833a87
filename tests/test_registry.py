from dataclasses import dataclass

import pytest

from lib.errors import UserError
from lib.registry import Registry


@dataclass(frozen=True)
class Fruit:
    name: str


def _fruits() -> Registry[Fruit]:
    fruits: Registry[Fruit] = Registry("fruit")
    fruits.add(Fruit("apple"))
    fruits.add(Fruit("banana"))
    return fruits


def test_get_returns_the_specification_and_keeps_order():
    fruits = _fruits()
    assert fruits.get("banana") == Fruit("banana")
    assert fruits.names == ("apple", "banana")
    assert len(fruits) == 2
    assert "apple" in fruits


def test_get_unknown_name_says_what_was_meant():
    with pytest.raises(UserError, match=r"Unknown fruit 'aple'. Did you mean 'apple'\? Choose one of: apple, banana"):
        _fruits().get("aple")


def test_add_duplicate_name_raises():
    with pytest.raises(ValueError, match="'apple' is in the table already"):
        _fruits().add(Fruit("apple"))


def test_a_specification_that_is_not_listed_is_found_by_name_alone():
    fruits = _fruits()
    fruits.add(Fruit("tomato"), is_listed=False)
    assert fruits.get("tomato") == Fruit("tomato")
    assert "tomato" in fruits
    assert fruits.names == ("apple", "banana")
    with pytest.raises(ValueError, match="'tomato' is in the table already"):
        fruits.add(Fruit("tomato"))
