from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from lib.figures.confusion_charts import confusion_figure
from lib.figures.data_charts import class_counts_figure
from lib.figures.result_charts import probability_figure
from lib.figures.style import (
    DARK,
    FAMILY_COLORS,
    LIGHT,
    SPLIT_COLORS,
    literal,
    new_figure,
    short_names,
    spread,
    strategy_style,
)
from lib.figures.training_charts import learning_curves_figure
from lib.training.strategies import STRATEGIES
from tests.figures.run_curves import curves

LONG = [f"{'a' * 197}{number:03d}" for number in range(120)]


def test_long_names_stay_apart():
    short = short_names(LONG, 18)
    assert len(set(short)) == 120
    assert short[7] == "aaaaaaaaaaa…aaa007"
    alike = short_names(["x" * 300, f"{'x' * 150}y{'x' * 149}", "cat"], 12)
    assert len(set(alike)) == 3
    assert all(len(name) <= 12 for name in alike)
    assert alike[2] == "cat"


@pytest.mark.parametrize("is_dark", [False, True])
def test_names_with_markup_stay_literal(is_dark):
    name = "<b>x</b>$y$"
    counts = pd.DataFrame({"class_name": [name], "split": ["train"], "count": [1]})
    for figure in (
        class_counts_figure(counts, is_dark),
        confusion_figure(np.eye(2), [name, "b"], name, is_dark),
        probability_figure([1.0], [name], is_dark),
        learning_curves_figure([curves(name)], "loss", is_dark=is_dark),
    ):
        assert "<b>" not in figure.to_json().replace("\\u003c", "<")


def test_every_strategy_has_a_sign_of_its_own():
    for what in ("marker", "sign"):
        assert len({getattr(strategy_style(name, True), what) for name in STRATEGIES.names}) == len(STRATEGIES.names)


def luminance(color: str) -> float:
    channels = [int(color[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [value / 12.92 if value <= 0.03928 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(first: str, second: str) -> float:
    light, dark = sorted((luminance(first), luminance(second)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("family", FAMILY_COLORS)
@pytest.mark.parametrize(("is_dark", "theme"), [(False, LIGHT), (True, DARK)])
def test_lines_keep_three_to_one_on_the_background(family, is_dark, theme):
    assert contrast(FAMILY_COLORS[family][is_dark], theme.background) >= 3


@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_text_keeps_four_and_a_half_to_one(theme):
    for color in (theme.ink, theme.muted, theme.accent):
        assert contrast(color, theme.background) >= 4.5


def test_every_strategy_has_a_colour_and_neighbours_in_a_family_differ_in_dash():
    looks = {name: strategy_style(name, False) for name in STRATEGIES.names}
    assert len({(look.color, look.dash) for look in looks.values()}) == len(looks)


def test_an_unknown_strategy_is_grey():
    assert strategy_style("of_another_version", True).color == DARK.muted


def test_split_colours_differ():
    assert len({color for pair in SPLIT_COLORS.values() for color in pair}) == 6


def test_literal_disarms_tags_entities_and_formulas():
    assert literal('<b>a</b> & <a href="x">') == '&lt;b&gt;a&lt;/b&gt; &amp; &lt;a href="x"&gt;'
    assert "$" not in literal("$x^2$")
    assert literal("a\nb") == "a b"
    assert len(literal("x" * 500)) == 60


def test_spread_moves_touching_labels_apart_around_their_middle():
    # 0.50 and 0.51 with a gap of 0.1: around 0.505, so 0.455 and 0.555; the far one stays.
    assert spread([0.51, 0.9, 0.50], 0.1) == pytest.approx([0.555, 0.9, 0.455])


def test_spread_keeps_order_and_gaps_when_clusters_merge():
    placed = spread([0.0, 0.05, 0.1, 0.16], 0.1)
    assert placed == sorted(placed)
    assert all(after - before >= 0.1 - 1e-9 for before, after in pairwise(placed))


def test_spread_pushes_labels_down_that_would_lie_above_the_figure():
    assert spread([0.9, 0.88, 0.1], 0.1, highest=0.9) == pytest.approx([0.9, 0.8, 0.1])


def test_a_new_figure_has_no_background_and_readable_text():
    figure = new_figure(is_dark=False, height=200)
    assert figure.layout.paper_bgcolor == "rgba(0,0,0,0)"
    assert figure.layout.font.size >= 14
