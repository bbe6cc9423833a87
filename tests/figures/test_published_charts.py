"""The picture of published boards: every line with its name and mark, published ones hollow, ours in their colours."""

import pytest

from lib.figures.published_charts import boards_figure
from lib.figures.style import palette, strategy_style
from lib.recipes.boards import Board, BoardLine, published_boards
from lib.recipes.published import PUBLISHED_METRICS
from tests.figures.run_curves import annotations

OURS = BoardLine("probe", 0.6, 0.5, 0.7, "on my set", strategy="linear_probe")
THEIRS = BoardLine("VGG16 <b>", 0.4, 0.3, 0.45, "place 1 to 2 in 2016", "talk")


def test_published_lines_are_hollow_and_ours_are_coloured():
    figure = boards_figure([Board("Ours", (OURS,)), Board("Theirs", (THEIRS,))], title="Accuracy", is_dark=False)
    dots = [trace for trace in figure.data if trace.mode == "markers"]
    assert [dot.marker.color for dot in dots] == [
        strategy_style("linear_probe", False).color, palette(is_dark=False).muted,
    ]  # fmt: skip
    assert dots[1].marker.symbol == "circle-open"
    lines = [trace for trace in figure.data if trace.mode == "lines"]
    assert [line.line.dash for line in lines] == ["solid", "3px,3px"]
    assert annotations(figure) == [
        "<b>Ours</b>", "<b>Theirs</b>", "probe", "0.600 · on my set", "VGG16 &lt;b&gt;", "0.400 · place 1 to 2 in 2016",
    ]  # fmt: skip
    assert dots[0].y[0] < dots[1].y[0]  # the axis runs downwards
    assert list(figure.layout.yaxis.range)[1] == 0


@pytest.mark.parametrize("metric", list(PUBLISHED_METRICS))
def test_all_boards_of_a_metric_can_be_drawn(metric):
    boards = published_boards(metric, [], {})
    figure = boards_figure(boards, title=metric, is_dark=True)
    assert len([trace for trace in figure.data if trace.mode == "markers"]) == sum(len(one.lines) for one in boards)
    assert figure.layout.xaxis.range == (0, 1.01)
