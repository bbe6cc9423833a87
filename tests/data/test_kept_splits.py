import sys
from typing import Any

import numpy as np
import pytest

from lib import disk_cache
from lib.data import kept_splits
from lib.data.kept_splits import kept_split
from lib.data.splits import assign_splits
from lib.errors import UserError

TARGETS = np.tile([0, 0, 0, 1], 15)
GROUPS = np.array([f"p{row // 2}" for row in range(60)], dtype=object)
FIXED = np.full(60, "", dtype=object)
WHOLE: dict[str, Any] = {"split_seed": 3, "num_folds": None, "fold": None, "class_names": ["a", "b"]}


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The seeds of the splits that were drawn; 50 images are many."""
    seeds: list[int] = []

    def count(*given: Any, **options: Any) -> np.ndarray:
        seeds.append(options["split_seed"])
        return assign_splits(*given, **options)

    monkeypatch.setattr(kept_splits, "LARGE", 50)
    monkeypatch.setattr(kept_splits, "assign_splits", count)
    return seeds


def test_a_split_is_drawn_once_and_read_again_as_it_was(drawn: list[int]):
    expected = assign_splits(TARGETS, GROUPS, FIXED, split_seed=3, class_names=["a", "b"])
    for _ in range(2):
        found = kept_split("v1", TARGETS, GROUPS, FIXED, **WHOLE)
        assert found.dtype == expected.dtype
        assert np.array_equal(found, expected)
    assert drawn == [3]


def test_other_images_another_seed_and_folds_are_other_splits(drawn: list[int]):
    kept_split("v1", TARGETS, GROUPS, FIXED, **WHOLE)
    for version, options in (("v2", {}), ("v1", {"split_seed": 4}), ("v1", {"num_folds": 3, "fold": 0})):
        kept_split(version, TARGETS, GROUPS, FIXED, **{**WHOLE, **options})
    assert drawn == [3, 3, 4, 3]


def test_another_release_of_the_library_draws_anew(drawn: list[int], monkeypatch: pytest.MonkeyPatch):
    kept_split("v1", TARGETS, GROUPS, FIXED, **WHOLE)
    monkeypatch.setattr(kept_splits, "_library_version", lambda: "0.1")
    kept_split("v1", TARGETS, GROUPS, FIXED, **WHOLE)
    assert drawn == [3, 3]


def test_small_sets_and_damaged_entries_are_drawn(drawn: list[int], monkeypatch: pytest.MonkeyPatch):
    expected = kept_split("v1", TARGETS, GROUPS, FIXED, **WHOLE)
    (entry,) = disk_cache.list_entries()
    content = bytearray(entry.path.read_bytes())
    content[-20] ^= 1
    entry.path.write_bytes(content)
    assert np.array_equal(kept_split("v1", TARGETS, GROUPS, FIXED, **WHOLE), expected)
    disk_cache.clear()
    monkeypatch.setattr(kept_splits, "LARGE", 100)
    kept_split("v1", TARGETS, GROUPS, FIXED, **WHOLE)
    assert drawn == [3, 3, 3]
    assert disk_cache.list_entries() == []


def test_a_full_disk_costs_only_the_time(drawn: list[int], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(disk_cache.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 0})())
    for _ in range(2):
        kept_split("v1", TARGETS, GROUPS, FIXED, **WHOLE)
    assert drawn == [3, 3]


def test_what_cannot_be_divided_is_told_each_time(drawn: list[int]):
    for _ in range(2):
        with pytest.raises(UserError, match="Class 'b' has 1 group"):
            kept_split("v1", np.array([0] * 59 + [1]), GROUPS, FIXED, **WHOLE)
    assert drawn == [3, 3]


def test_a_kept_split_needs_no_scikit_learn(drawn: list[int], monkeypatch: pytest.MonkeyPatch):
    kept_split("v1", TARGETS, GROUPS, FIXED, **WHOLE)
    monkeypatch.setitem(sys.modules, "lib.data.grouped_folds", None)  # an import fails
    kept_split("v1", TARGETS, GROUPS, FIXED, **WHOLE)
    assert drawn == [3]
