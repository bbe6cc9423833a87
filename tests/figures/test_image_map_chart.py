from itertools import combinations
from types import SimpleNamespace

import numpy as np
import pytest

from lib.errors import UserError
from lib.explain.class_separation import Separation
from lib.figures.image_map_chart import (
    CLASS_COLORS,
    MAX_COLOURED,
    drawn_order,
    image_map_figure,
    point_colours,
    save_image_map,
    separation_figure,
)
from lib.figures.style import DARK, LIGHT
from tests.features.tiny_dataset import TinyDataset
from tests.figures.test_style import contrast

# What people without red or green receptors see, in linear RGB: Machado et al. 2009, severity 1.
SEEN = (
    np.eye(3),
    np.array([[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]]),
    np.array([[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]]),
)
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def lab(color, seen):
    channels = np.array([int(color[start : start + 2], 16) / 255 for start in (1, 3, 5)])
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    scaled = XYZ @ np.clip(seen @ linear, 0, 1) / np.array([0.9505, 1, 1.089])
    x, y, z = np.where(scaled > 0.008856, np.cbrt(scaled), 7.787 * scaled + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize(("is_dark", "theme"), [(False, LIGHT), (True, DARK)])
def test_colours_stand_out_and_are_told_apart_by_everybody(is_dark, theme):
    colors = [pair[is_dark] for pair in CLASS_COLORS]
    assert min(contrast(color, theme.background) for color in colors) >= 3
    for seen in SEEN:
        assert min(np.linalg.norm(lab(a, seen) - lab(b, seen)) for a, b in combinations(colors, 2)) >= 20


def make(**options):
    dataset = TinyDataset(**options)
    dataset.table["flags"] = ""
    return dataset, np.arange(len(dataset.table)), np.full(len(dataset.table), "train", dtype=object)


def shown(colours):
    return [(group.title, len(points)) for group, points in drawn_order(colours)]


def test_by_class_split_and_flag():
    dataset, rows, split = make(num_images=6, names=("cat", "dog"))
    assert shown(point_colours("class", dataset, rows, split)) == [("cat", 3), ("dog", 3)]
    split[:2], split[2] = "test", "excluded"
    assert shown(point_colours("split", dataset, rows, split)) == [("Excluded", 1), ("Training", 3), ("Test", 2)]
    dataset.table["flags"] = ["ungradable: blurred", "", "ungradable", "cmyk", "", ""]
    colours = point_colours("flag", dataset, rows, split)
    assert colours.numbers.tolist() == [1, 0, 3, 2, 0, 0]  # excluded goes before ungradable
    assert colours.counts(np.array([0, 1, 4])) == [("No flag", 2), ("Ungradable", 1)]


def test_grades_are_a_ramp_in_their_order():
    dataset, rows, split = make(num_images=10, num_classes=5)
    dataset.spec = dataset.spec.__class__(**{**dataset.spec.__dict__, "is_ordinal": True})
    groups = point_colours("class", dataset, rows, split).groups
    assert [group.title for group in groups] == list("abcde")
    assert len({group.sign for group in groups}) == 1
    brightness = [sum(bytes.fromhex(group.colors[1][1:])) for group in groups]
    assert brightness[-1] > brightness[0]


def test_of_too_many_classes_the_chosen_ones_have_a_colour():
    names = tuple(f"food {number}" for number in range(101))
    dataset, rows, split = make(counts=(*([2] * 50), 9, *([2] * 50)), names=names)
    colours = point_colours("class", dataset, rows, split)
    titles = [group.title for group in colours.groups]
    assert "food 50" in titles
    assert titles[-1] == "93 other classes"
    assert f"{MAX_COLOURED} of 101" in colours.note
    chosen = point_colours("class", dataset, rows, split, chosen=["food 7", "gone", "food 3", "food 7"])
    assert [group.title for group in chosen.groups] == ["food 7", "food 3", "99 other classes"]
    assert chosen.counts() == [("food 7", 2), ("food 3", 2), ("99 other classes", 205)]


def test_a_runs_answers_and_errors_of_the_images_it_was_tested_on():
    dataset, rows, split = make(num_images=4, names=("cat", "dog"))
    ids = dataset.table["image_id"].to_numpy()
    tested = SimpleNamespace(
        image_ids=ids[[2, 3]], answers=np.array([0, 0]), targets=np.array([0, 1]), class_names=["no", "yes"],
        is_ordinal=False,
    )  # fmt: skip
    assert shown(point_colours("prediction", dataset, rows, split, tested=tested)) == [("Not tested", 2), ("no", 2)]
    assert point_colours("error", dataset, rows, split, tested=tested).numbers.tolist() == [0, 0, 1, 2]
    with pytest.raises(UserError, match="choose a finished run"):
        point_colours("error", dataset, rows, split)
    with pytest.raises(UserError, match="no colouring 'size'"):
        point_colours("size", dataset, rows, split)


@pytest.mark.parametrize("is_dark", [False, True])
def test_the_figure_holds_each_point_once_and_names_literally(is_dark):
    dataset, rows, split = make(num_images=6, names=("<b>cat</b>", "$dog$"))
    points = np.random.default_rng(0).normal(size=(6, 2)).astype(np.float32)
    colours = point_colours("class", dataset, rows, split)
    names = [f"<i>{row}</i>" for row in rows]
    figure = image_map_figure(points, colours, is_dark=is_dark, names=names, selected=np.array([0, 3]))
    assert [trace.type for trace in figure.data] == ["scattergl"] * 2
    assert [list(trace.selectedpoints) for trace in figure.data] == [[0], [1]]  # rows 0, 2, 4 and 1, 3, 5
    assert np.array_equal(np.asarray(figure.data[1].x), points[1::2, 0])
    text = figure.to_json().replace("\\u003c", "<")
    assert "<b>" not in text
    assert "<i>" not in text
    assert image_map_figure(points, colours, is_dark=is_dark).data[0].selectedpoints is None


def test_a_picture_file_of_names_with_formulas(tmp_path):
    dataset, rows, split = make(num_images=6, names=("$x^", "b"))
    colours = point_colours("class", dataset, rows, split)
    save_image_map(np.zeros((6, 2)), colours, tmp_path / "map.png", title="$y", note="6 images")
    assert (tmp_path / "map.png").read_bytes().startswith(b"\x89PNG")


def test_the_curve_marks_the_stage_that_is_shown_and_leaves_out_what_is_unknown():
    apart = Separation(0.8, 0.7, 0.9, 0.5, 10, 100)
    figure = separation_figure(["a", "b", "c"], [apart, None, apart], is_dark=False, current=2)
    assert list(figure.data[0].x) == [1, 3]
    assert figure.data[0].marker.size == (7, 14)
    assert separation_figure(["a"], [None], is_dark=True).data[0].x == ()
