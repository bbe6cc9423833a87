"""Classes in the names of files, by a pattern that is shown before it is applied."""

import pytest

from lib.data.sources.files import FolderWalk
from lib.data.sources.name_patterns import suggest_patterns, try_pattern
from lib.errors import UserError
from tests.data.sources.trees import classes, groups, reasons, scan, splits, touch


def images(root):
    return FolderWalk(root).run().images


@pytest.mark.parametrize(
    ("names", "pattern", "counts"),
    [
        (("cat.0.jpg", "cat.1.jpg", "dog.0.jpg", "dog.10.jpg"), "{class}.{number}", {"cat": 2, "dog": 2}),
        (
            ("Abyssinian_1.jpg", "Abyssinian_12.jpg", "american_bulldog_3.jpg", "american_bulldog_4.png"),
            "{class}_{number}",
            {"Abyssinian": 2, "american_bulldog": 2},
        ),
        (("001-ant.png", "002-ant.png", "003-bee.png", "4-bee.png"), "{number}-{class}", {"ant": 2, "bee": 2}),
        (("ant1.png", "ant2.png", "bee1.png", "bee22.png"), "{class}{number}", {"ant": 2, "bee": 2}),
        (("no dr 1.png", "no dr 2.png", "mild 1.png", "mild 2.png"), "{class} {number}", {"mild": 2, "no dr": 2}),
        (("ant_x1.png", "ant_k.png", "bee_z9.png", "bee_a.png"), "{class}_*", {"ant": 2, "bee": 2}),
    ],
)
def test_the_likeliest_pattern_is_suggested_with_its_classes(tmp_path, names, pattern, counts):
    (best, *_) = suggest_patterns(images(touch(tmp_path, *names)))
    assert (best.pattern, best.counts, best.num_unmatched) == (pattern, counts, 0)
    assert set(classes(scan(tmp_path, name_pattern=pattern)).values()) == set(counts)


@pytest.mark.parametrize(
    "names",
    [
        ("1_left.jpg", "1_right.jpg", "2_left.jpg", "2_right.jpg"),
        ("IMG_001.jpg", "IMG_002.jpg", "IMG_003.jpg"),
        ("a.jpg", "b.jpg", "c.jpg"),
        ("10_1.jpg", "10_2.jpg", "11_1.jpg", "11_2.jpg"),
        (),
    ],
)
def test_eyes_numbers_and_lone_names_are_no_classes(tmp_path, names):
    assert suggest_patterns(images(touch(tmp_path, *names))) == []


def test_what_a_pattern_gives_is_told_before_it_is_applied(tmp_path):
    names = ("cat.0.jpg", "cat.1.jpg", "dog.0.jpg", "other.jpg")
    tried = try_pattern("{class}.{number}", images(touch(tmp_path, *names)))
    assert (tried.counts, tried.unmatched, tried.num_unmatched) == ({"cat": 2, "dog": 1}, ("other.jpg",), 1)
    assert tried.examples == {"cat": "cat.0.jpg", "dog": "dog.0.jpg"}
    assert tried.words == "cat (2), dog (1)"
    with pytest.raises(UserError, match=r"4 images but no class folders.*look like classes: .*\{class\}\.\{number\}"):
        scan(touch(tmp_path / "b", "cat.0.jpg", "cat.1.jpg", "dog.0.jpg", "dog.1.jpg"))


def test_names_that_do_not_fit_are_left_out_with_the_reason(tmp_path):
    """As dogs-vs-cats comes: train/cat.0.jpg with classes, test1/1.jpg without."""
    touch(tmp_path, "train/cat.0.jpg", "train/dog.0.jpg", "test1/1.jpg")
    found = scan(tmp_path, name_pattern="{class}.{number}")
    assert classes(found) == {"train/cat.0.jpg": "cat", "train/dog.0.jpg": "dog"}
    assert reasons(found) == {"test1/1.jpg": "its name does not fit the pattern {class}.{number}"}
    assert found.notices == ("Classes from the names of the files, by the pattern {class}.{number}.",)
    touch(tmp_path, "test1/cat.7.jpg")
    assert set(splits(scan(tmp_path, name_pattern="{class}.{number}")).values()) == {"train", "test"}


def test_folders_belong_to_a_pattern_with_a_slash_and_accents_have_one_spelling(tmp_path):
    touch(tmp_path, "caf\u00e9/x/1.jpg", "cafe\u0301/y/2.jpg", "bar/x/1.jpg")
    assert set(classes(scan(tmp_path, name_pattern="{class}/*/*")).values()) == {"caf\u00e9", "bar"}


def test_both_eyes_stay_together_and_metadata_counts(tmp_path):
    touch(tmp_path, "mild_7_left.jpg", "mild_7_right.jpg", "none_8_left.jpg", "none_8_right.jpg")
    assert set(groups(scan(tmp_path, name_pattern="{class}_*")).values()) == {"mild_7", "none_8"}


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("*_{number}", r"must have \{class\} once"),
        ("{class}_{class}", r"must have \{class\} once"),
        ("{class}_{nr}", r"only \{class\} and \{number\}"),
        ("{class}" + "*" * 6, "is too long"),
        ("{class}_{number}x", r"No name in .* fits the pattern .* \(such as cat\.0\.jpg\)"),
        ("{class}.0", "gives only one class, 'cat'"),
    ],
)
def test_a_pattern_that_will_not_do_is_refused_in_a_sentence(tmp_path, pattern, said):
    touch(tmp_path, "cat.0.jpg", "cat.1.jpg", "dog.1.jpg")
    with pytest.raises(UserError, match=said):
        scan(tmp_path, name_pattern=pattern)


def test_classes_come_from_one_place():
    from lib.data.sources.tables import SourceOptions

    with pytest.raises(UserError, match="from label files or from a pattern of names; take one"):
        SourceOptions(labels=("a.csv",), name_pattern="{class}*")


def test_names_in_both_cases_are_one_class(tmp_path):
    found = scan(touch(tmp_path, "Cat.1.jpg", "cat.2.jpg", "cat.3.jpg", "dog.1.jpg"), name_pattern="{class}.{number}")
    assert found.class_names == ("cat", "dog")
    assert try_pattern("{class}.{number}", images(tmp_path)).counts == {"cat": 3, "dog": 1}
