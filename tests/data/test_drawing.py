from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from lib.data.drawing import ALL_IMAGES, Draw, draw_images
from lib.data.sources.files import LeftOut, SourceEntry
from lib.data.sources.folder import FolderScan
from lib.errors import UserError


def scan_of(counts: dict[tuple[str, str], int], *, groups: dict[str, str] | None = None) -> FolderScan:
    """A scan with so many images for each class and part; `groups` are patients by the name of the file."""
    entries = []
    for (class_name, split), number in counts.items():
        for n in range(number):
            parts = (split or "all", class_name, f"{n}.jpg")
            group = (groups or {}).get("/".join(parts), "")
            entries.append(SourceEntry(Path("/x", *parts), parts, 9, 9, class_name=class_name, split=split,
                                       group_id=group))  # fmt: skip
    names = tuple(dict.fromkeys(class_name for class_name, _ in counts))
    return FolderScan(Path("/x"), entries, [LeftOut("notes.txt", "no image")], names)


def counts_of(scan: FolderScan) -> dict[tuple[str, str], int]:
    return dict(Counter((entry.class_name, entry.split) for entry in scan.entries))


def test_nothing_asked_is_the_scan_itself():
    scan = scan_of({("a", ""): 3, ("b", ""): 3})
    assert draw_images(scan, ALL_IMAGES) is scan


def test_so_many_of_each_class_and_what_is_said_of_the_rest():
    scan = scan_of({("a", ""): 300, ("b", ""): 30})
    drawn = draw_images(scan, Draw(per_class=20))
    assert counts_of(drawn) == {("a", ""): 20, ("b", ""): 20}
    assert drawn.notices == ("Drawn: 40 of 330 images (20 a class, seed 0).",)
    assert drawn.left_out == [*scan.left_out, LeftOut(".", "290 images not drawn (20 a class, seed 0)")]
    few = draw_images(scan_of({("a", ""): 22, ("b", ""): 20}), Draw(per_class=20))
    assert [item.reason for item in few.left_out[1:]] == ["not drawn (20 a class, seed 0)"] * 2
    assert {item.path.split("/")[1] for item in few.left_out[1:]} == {"a"}


def test_draw_is_the_same_again_other_with_another_seed_and_grows():
    scan = scan_of({("a", ""): 100, ("b", ""): 100})
    keys = [
        {entry.key for entry in draw_images(scan, draw).entries}
        for draw in (Draw(per_class=10), Draw(per_class=10), Draw(per_class=10, seed=1), Draw(per_class=30))
    ]
    assert keys[0] == keys[1]
    assert keys[0] != keys[2]
    assert keys[0] < keys[3]
    reversed_scan = FolderScan(scan.folder, scan.entries[::-1], [], scan.class_names)
    assert {entry.key for entry in draw_images(reversed_scan, Draw(per_class=10)).entries} == keys[0]


def test_so_many_of_each_class_keep_the_shares_of_the_published_parts():
    scan = scan_of({("a", "train"): 70, ("a", "val"): 10, ("a", "test"): 20, ("b", "train"): 7, ("b", "test"): 2})
    drawn = draw_images(scan, Draw(per_class=10))
    assert counts_of(drawn) == {
        ("a", "train"): 7, ("a", "val"): 1, ("a", "test"): 2, ("b", "train"): 7, ("b", "test"): 2,
    }  # fmt: skip
    assert drawn.notices[1] == "Fewer than 10 images were there to draw of b (9)."


def test_to_train_from_train_and_to_test_from_test():
    scan = scan_of({("a", "train"): 90, ("b", "train"): 60, ("a", "val"): 9, ("b", "val"): 9, ("a", "test"): 30,
                    ("b", "test"): 15})  # fmt: skip
    drawn = draw_images(scan, Draw(train_per_class=75, test_per_class=20))
    assert counts_of(drawn) == {("a", "train"): 75, ("b", "train"): 60, ("a", "test"): 20, ("b", "test"): 15}
    assert drawn.notices == (
        "Drawn: 170 of 213 images (75 a class to train, 20 a class to test, seed 0).",
        "Fewer than 75 images to train were there to draw of b (60).",
        "Fewer than 20 images to test were there to draw of b (15).",
    )
    only_test = draw_images(scan, Draw(test_per_class=10))
    assert counts_of(only_test) == {
        ("a", "train"): 90, ("b", "train"): 60, ("a", "val"): 9, ("b", "val"): 9, ("a", "test"): 10, ("b", "test"): 10,
    }  # fmt: skip


def test_validation_folder_is_the_test_part_where_there_is_no_other():
    scan = scan_of({("a", "train"): 20, ("b", "train"): 20, ("a", "val"): 10, ("b", "val"): 10})
    drawn = draw_images(scan, Draw(train_per_class=5, test_per_class=4))
    assert counts_of(drawn) == {("a", "train"): 5, ("b", "train"): 5, ("a", "val"): 4, ("b", "val"): 4}
    assert len(drawn.notices) == 1


def test_source_without_parts_gets_them():
    scan = scan_of({("a", ""): 100, ("b", ""): 25})
    drawn = draw_images(scan, Draw(train_per_class=15, test_per_class=20))
    assert counts_of(drawn) == {("a", "test"): 20, ("a", "train"): 15, ("b", "test"): 20, ("b", "train"): 5}
    assert len({entry.path for entry in drawn.entries}) == 60
    assert drawn.notices[1] == "Fewer than 15 images to train were there to draw of b (5)."
    with pytest.raises(UserError, match="no part for training and none for testing; say how many images of a class"):
        draw_images(scan, Draw(train_per_class=15))
    with pytest.raises(UserError, match="no part for training to draw from"):
        draw_images(scan_of({("a", "val"): 9, ("a", "test"): 9, ("b", "test"): 9}), Draw(train_per_class=5))


@pytest.mark.parametrize("draw", [Draw(per_class=20), Draw(train_per_class=20, test_per_class=10)])
def test_patient_is_taken_whole_or_not_at_all(draw):
    groups = {f"all/{name}/{n}.jpg": f"{name}{n // 2}" for name in "abc" for n in range(80)}
    # Ten patients have one eye of the common class a and one of the rare class c.
    groups |= {f"all/c/{n}.jpg": f"mixed{n}" for n in range(10)} | {f"all/a/{n}.jpg": f"mixed{n}" for n in range(10)}
    scan = scan_of({("a", ""): 80, ("b", ""): 80, ("c", ""): 30}, groups=groups)
    drawn = draw_images(scan, draw)
    whole, taken = (Counter(entry.group_id for entry in one.entries) for one in (scan, drawn))
    assert all(whole[group] == number for group, number in taken.items())
    parts = {group: {entry.split for entry in drawn.entries if entry.group_id == group} for group in taken}
    assert all(len(splits) == 1 for splits in parts.values())
    if draw.per_class:
        assert counts_of(drawn) == {("a", ""): 20, ("b", ""): 20, ("c", ""): 20}


def test_class_of_large_patients_keeps_one_of_them():
    groups = {f"all/a/{n}.jpg": f"p{n // 5}" for n in range(10)}
    drawn = draw_images(scan_of({("a", ""): 10, ("b", ""): 10}, groups=groups), Draw(per_class=3))
    assert counts_of(drawn) == {("a", ""): 5, ("b", ""): 3}


def test_patients_are_the_reason_where_a_class_has_fewer():
    groups = {f"all/a/{n}.jpg": f"p{n // 2}" for n in range(10)}
    drawn = draw_images(scan_of({("a", ""): 10, ("b", ""): 10}, groups=groups), Draw(per_class=5))
    assert counts_of(drawn) == {("a", ""): 4, ("b", ""): 5}
    assert drawn.notices[1] == "Fewer than 5 images were there to draw of a (4); patients are taken whole."


def test_images_without_classes_are_not_drawn():
    scan = replace(scan_of({("", ""): 5}), is_unlabelled=True, class_names=("a", "b"))
    assert draw_images(scan, ALL_IMAGES) is scan
    with pytest.raises(UserError, match="have no classes to draw so many of"):
        draw_images(scan, Draw(per_class=2))


def test_draw_on_the_command_line():
    assert ALL_IMAGES.arguments == Draw(seed=3).arguments == []
    assert Draw(per_class=200).arguments == ["--per-class", "200"]
    assert Draw(train_per_class=750, test_per_class=200, seed=3).arguments == [
        "--train-per-class", "750", "--test-per-class", "200", "--draw-seed", "3",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"per_class": 0}, "At least one image of a class must be drawn; per class was 0"),
        ({"test_per_class": -1}, "test per class was -1"),
        ({"per_class": 5, "train_per_class": 5}, "not both at once"),
    ],
)
def test_impossible_draws(numbers, message):
    with pytest.raises(UserError, match=message):
        Draw(**numbers)
