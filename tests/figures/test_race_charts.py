import pytest

from lib.figures.race_charts import RaceLine, parameter_position, race_figure, race_text
from lib.figures.style import strategy_style
from lib.recipes import PublishedLine

PROBE = RaceLine("linear_probe", "Linear probe", [0.7], [3.0], [], 5125)
TUNED = RaceLine("full_finetuning", "Full fine-tuning", [0.2, 0.6], [20.0, 40.0], [1, 2], 4_000_000)


@pytest.mark.parametrize("is_dark", [False, True])
def test_a_rung_stands_at_one_height_in_all_three_panels(is_dark):
    figure = race_figure([PROBE, TUNED], "quadratic_weighted_kappa", epochs=3, seconds=10.0, is_dark=is_dark)
    by_panel = {}
    for trace in figure.data:
        by_panel.setdefault(trace.name, {})[trace.xaxis or "x"] = (list(trace.x), list(trace.y))
        assert trace.line.color in {strategy_style(one.strategy, is_dark).color for one in (PROBE, TUNED)}
    tuned = by_panel["Full fine-tuning"]
    assert tuned["x"] == ([1, 2], [0.2, 0.6])
    assert tuned["x2"] == ([20.0, 40.0], [0.2, 0.6])
    assert tuned["x3"] == ([pytest.approx(6.602, abs=1e-3)], [0.6])
    probe = by_panel["Linear probe"]
    assert probe["x"][1] == [0.7, 0.7]  # no epochs: a level line
    assert probe["x2"] == ([3.0], [0.7])
    assert figure.layout.xaxis.range == (0, 3.3)  # the planned epochs, not those so far
    assert figure.layout.xaxis2.range[1] > 40
    assert {note.text for note in figure.layout.annotations} == {"◆ Linear probe", "▲ Full fine-tuning"}


def test_published_lines_run_through_all_panels_with_their_source():
    lines = {"linear_probe": PublishedLine("vgg16-dr-lr", 0.7456, "a talk, 2016", "", "")}
    figure = race_figure([PROBE], "quadratic_weighted_kappa", epochs=3, seconds=10.0, is_dark=False, published=lines)
    assert [shape.y0 for shape in figure.layout.shapes] == [0.7456] * 3
    assert "◆ a talk, 2016" in {note.text for note in figure.layout.annotations}
    assert figure.layout.yaxis.range[1] > 0.7456


def test_no_rung_yet_is_an_empty_picture_with_words():
    figure = race_figure([], "accuracy", epochs=3, seconds=10.0, is_dark=False)
    assert len(figure.data) == 0
    assert race_text([], "accuracy").endswith("no rung has a value yet.")
    assert "Full fine-tuning 0.60 after 40 s" in race_text([PROBE, TUNED], "accuracy")


def test_parameters_are_on_a_logarithmic_axis_that_has_a_place_for_none():
    assert [parameter_position(count) for count in (0, 1, 100, 1_000_000)] == [0, 0, 2, 6]
