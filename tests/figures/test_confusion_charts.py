"""Confusion matrices: colours, numbers and cells of any number of runs and classes."""

import numpy as np
import pytest

from lib.figures.confusion_charts import (
    MAX_BESIDE,
    SHARES,
    Panel,
    cell_layout,
    confusion_figure,
    confusion_grid_figure,
    most_confused,
)
from lib.figures.style import palette
from tests.figures.run_curves import annotations
from tests.figures.test_style import contrast


def test_confusion_colours_are_shares_of_the_true_class():
    figure = confusion_figure(np.array([[3, 1], [0, 0]]), ["cat", "dog"], "t", False)
    np.testing.assert_allclose(figure.data[0].z, [[0.75, 0.25], [0, 0]])
    assert annotations(figure) == ["3", "1", "0", "0"]
    assert [list(pair) for pair in figure.data[1].customdata] == [[0, 0], [0, 1]]  # cells that are not empty
    assert "1 images, 25% of the class" in figure.data[1].hovertext[1]


LONG = [f"{'a' * 197}{number:03d}" for number in range(120)]


@pytest.mark.parametrize("num_classes", [1, 2, 5, 12, 13, 40, 41, 120])
@pytest.mark.parametrize("kind", ["no errors", "constant", "empty", "one image"])
def test_a_confusion_matrix_of_any_size_has_cells_that_can_be_seen(num_classes, kind):
    matrix = {
        "no errors": 3 * np.eye(num_classes, dtype=int),
        "constant": np.tile(np.eye(num_classes, dtype=int)[0], (num_classes, 1)),
        "empty": np.zeros((num_classes, num_classes), dtype=int),
        "one image": np.outer(np.eye(num_classes, dtype=int)[-1], np.eye(num_classes, dtype=int)[0]),
    }[kind]
    figure = confusion_figure(matrix, LONG[:num_classes], LONG[0], True)
    layout, heat = cell_layout(num_classes), figure.data[0]
    assert heat.xgap == heat.ygap == layout.gap_px <= layout.cell_px / 10
    labels = list(figure.layout.yaxis.ticktext)
    assert len(labels) == len(set(labels)) == (num_classes if num_classes <= 40 else 0)
    assert all(len(label) <= 18 for label in labels)
    below = 7.5 * max((len(label) for label in labels), default=0) + 48 if num_classes > 5 else 48
    assert figure.layout.height - 64 - below >= layout.cell_px * num_classes - 1
    assert figure.layout.height <= 900
    assert len(figure.data[1].x) == np.count_nonzero(matrix)
    assert (heat.colorscale[1][1] != figure.layout.paper_bgcolor) and heat.zmax == 1


def test_the_smallest_share_is_tinted_where_no_number_is_written():
    figure = confusion_figure(np.eye(13), LONG[:13], "t", False)
    assert figure.data[0].colorscale[1] == (1e-06, "#C1DAD8")  # a quarter from #FCFCFB to #0F766E
    assert annotations(figure) == []


def test_the_most_confused_classes_come_first_and_keep_the_shares_of_all_images():
    matrix = np.diag([10, 10, 10, 10])
    matrix[1, 3], matrix[3, 1], matrix[0, 1] = 4, 3, 1
    # Errors into and out of a class: 1, 8, 0, 7.
    assert most_confused(matrix).tolist() == [1, 3, 0]
    assert most_confused(matrix, 2).tolist() == [1, 3]
    assert most_confused(np.eye(50)).tolist() == []
    figure = confusion_figure(matrix, ["a", "b", "c", "d"], "t", False, classes=[1, 3])
    np.testing.assert_allclose(figure.data[0].z, [[10 / 14, 4 / 14], [3 / 13, 10 / 13]])
    assert list(figure.layout.yaxis.ticktext) == ["b", "d"]
    assert [list(pair) for pair in figure.data[1].customdata] == [[1, 1], [1, 3], [3, 1], [3, 3]]


MATRIX = np.array([[3, 1], [2, 6]])


@pytest.mark.parametrize(
    ("share", "values", "texts", "highest"),
    [
        ("row", [[0.75, 0.25], [0.25, 0.75]], ["75", "25", "25", "75"], 1.0),
        ("column", [[0.6, 1 / 7], [0.4, 6 / 7]], ["60", "14", "40", "86"], 1.0),
        ("count", MATRIX, ["3", "1", "2", "6"], 60.0),
    ],
)
def test_colour_and_number_say_what_was_asked_for_on_one_scale(share, values, texts, highest):
    panels = [Panel(MATRIX, "small"), Panel(10 * MATRIX, "large")]
    figure = confusion_grid_figure(panels, ["a", "b"], is_dark=False, share=share)
    heats = [trace for trace in figure.data if trace.type == "heatmap"]
    np.testing.assert_allclose(heats[0].z, values)
    assert [heat.zmax for heat in heats] == [highest, highest]
    assert annotations(figure)[:5] == [*texts, "small"]
    assert {*SHARES} == {"row", "column", "count"}


def test_every_cell_knows_its_matrix_and_the_chosen_one_is_outlined():
    panels = [Panel(MATRIX, "ours"), Panel(np.array([[4, 0], [0, 4]]), "theirs", is_published=True)]
    figure = confusion_grid_figure(panels, ["a", "b"], is_dark=True, chosen=(1, 0, 0))
    points = [trace for trace in figure.data if trace.type == "scatter"]
    assert [list(map(list, one.customdata)) for one in points] == [
        [[0, 0, 0], [0, 0, 1], [0, 1, 0], [0, 1, 1]], [[1, 0, 0], [1, 1, 1]],
    ]  # fmt: skip
    (shape,) = figure.layout.shapes
    assert (shape.xref, shape.x0, shape.x1, shape.y0, shape.y1) == ("x2", -0.5, 0.5, -0.5, 0.5)
    assert "3 images, 75% of the class" in points[0].hovertext[0]
    assert "60% of what was called so" in points[0].hovertext[0]


@pytest.mark.parametrize("num_panels", [1, 2, 5, 13])
@pytest.mark.parametrize("num_classes", [1, 2, 5, 12, 13, 41, 101])
def test_any_number_of_matrices_finds_room(num_panels, num_classes):
    matrix = np.arange(num_classes**2).reshape(num_classes, num_classes) % 7
    figure = confusion_grid_figure(
        [Panel(matrix, LONG[0])] * num_panels, LONG[:num_classes], is_dark=False, chosen=(0, 0, num_classes - 1)
    )
    num_rows = -(-num_panels // MAX_BESIDE)
    assert 150 * num_rows <= figure.layout.height <= 950 * num_rows
    domains = [(tuple(figure.layout[f"xaxis{one}"].domain), tuple(figure.layout[f"yaxis{one}"].domain))
               for one in ["", *range(2, num_panels + 1)]]  # fmt: skip
    assert len(set(domains)) == num_panels
    assert all(0 <= low < high <= 1 + 1e-9 for pair in domains for low, high in pair)
    assert len([heat for heat in figure.data if heat.type == "heatmap"]) == num_panels
    words = [text for text in annotations(figure) if text.strip("0123456789")]
    assert all(len(line) <= 140 for text in words for line in text.split("<br>"))


def test_some_classes_keep_the_shares_of_all_images():
    matrix = np.diag([10, 10, 10, 10])
    matrix[1, 3] = 10
    figure = confusion_grid_figure([Panel(matrix, "t")], list("abcd"), is_dark=False, classes=[3, 1])
    np.testing.assert_allclose(figure.data[0].z, [[1.0, 0.0], [0.5, 0.5]])
    assert list(map(list, figure.data[1].customdata)) == [[0, 3, 3], [0, 1, 3], [0, 1, 1]]


def test_an_empty_matrix_is_drawn():
    figure = confusion_grid_figure([Panel(np.zeros((3, 3), int), "none")], list("abc"), is_dark=False, share="count")
    assert figure.data[0].zmax == 1.0
    assert len(figure.data[1].x) == 0


def test_a_title_as_wide_as_the_picture_is_whole():
    title = "Linear probe · EfficientNet-Lite0 · seed 0: the 12 most confused of 101 classes"
    figure = confusion_grid_figure(
        [Panel(np.eye(101, dtype=int), title)], [f"class {k:03d}" for k in range(101)], is_dark=False,
        classes=list(range(12)),
    )  # fmt: skip
    assert title in [" ".join(text.split("<br>")) for text in annotations(figure)]


@pytest.mark.slow
@pytest.mark.parametrize("is_dark", [False, True])
def test_numbers_can_be_read_on_every_shade(is_dark):
    colors = palette(is_dark=is_dark)
    low, high = ([int(color[at : at + 2], 16) for at in (1, 3, 5)] for color in (colors.background, colors.accent))
    for share in range(0, 101, 2):
        matrix = np.array([[share, 100 - share], [0, 100]])
        figure = confusion_grid_figure([Panel(matrix, "a")], ["x", "y"], is_dark=is_dark, share="row")
        cell = "#" + "".join(f"{round(a + share / 100 * (b - a)):02x}" for a, b in zip(low, high, strict=True))
        font = next(
            one.font.color for one in figure.layout.annotations if (one.x, one.y, one.text) == (0, 0, f"{share}")
        )
        assert contrast(font, cell) >= 3.8  # the most that either of two colours can have in the middle
