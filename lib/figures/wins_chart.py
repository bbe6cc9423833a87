"""The heat map of wins: for each two runs, on how many images one alone was right, and whether its lead is real."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from lib.evaluation.comparison import PairedComparison
from lib.figures.style import literal, new_figure, palette, short_labels
from lib.tracking.comparison import Comparison

MAX_RUNS = 12  # with more, numbers in cells cannot be read
# Blue ahead, orange behind: apart in every common kind of colour blindness, and by the sign in the cell.
_AHEAD, _BEHIND = ("#2166AC", "#6BAED6"), ("#B35806", "#FDAE61")
_CELL_PX = 56


@dataclass(frozen=True)
class Win:
    """Row against column: images that the row's run alone got right, its lead in the metric, and whether it is shown.

    `num_alone` is None where images cannot be counted (series of seeds), `lead` is in what the metric counts, positive
    where the row's run is better; NaN where nothing was compared, and `sentence` says why.
    """

    lead: float
    is_shown: bool
    num_alone: int | None = None
    sentence: str = ""


def wins_of(found: Comparison) -> dict[tuple[str, str], Win]:
    """(key of a row, key of another) -> the first against the second, both ways round."""
    wins = {}
    for pair in found.pairs:
        one = pair.found
        if one is None:
            wins[pair.a, pair.b] = wins[pair.b, pair.a] = Win(math.nan, is_shown=False, sentence=pair.sentence)
            continue
        # The lead is positive where a row is better, also of a metric of which less is better.
        lead = -one.difference if found.metric.is_lower_better else one.difference
        alone = (one.only_a, one.only_b) if isinstance(one, PairedComparison) else (None, None)
        is_shown = bool(one.is_significant) and math.isfinite(lead)
        wins[pair.a, pair.b] = Win(lead, is_shown, alone[0], pair.sentence)
        wins[pair.b, pair.a] = Win(-lead, is_shown, alone[1], pair.sentence)
    return wins


def wins_figure(labels: Sequence[str], wins: Mapping[tuple[int, int], Win], *, word: str, is_dark: bool) -> go.Figure:
    """One row and one column a run; coloured where the lead of the row is more than chance, else empty.

    Args:
        labels: of the runs, best first, at most `MAX_RUNS` of which are drawn.
        wins: (row, column) -> row against column; both ways round.
        word: the metric in a sentence.
        is_dark: theme.
    """
    labels = list(labels)[:MAX_RUNS]
    num, colors = len(labels), palette(is_dark=is_dark)
    figure = new_figure(is_dark=is_dark, height=90 + _CELL_PX * max(num, 2))
    values, words, annotations = [], [], []
    for row in range(num):
        values.append([math.nan] * num)
        words.append([""] * num)
        for column in range(num):
            win = wins.get((row, column))
            if row == column or win is None:
                continue
            words[row][column] = (
                f"{literal(labels[row])} against<br>{literal(labels[column])}<br>{_broken(win.sentence)}"
            )
            is_known = math.isfinite(win.lead)
            values[row][column] = 0.0 if not is_known or not win.is_shown else math.copysign(1.0, win.lead)
            font = {"size": 14, "color": colors.background if values[row][column] else colors.ink}
            annotations.append({"x": column, "y": row, "text": _text(win), "showarrow": False, "font": font})
    ahead, behind = _AHEAD[is_dark], _BEHIND[is_dark]
    figure.add_heatmap(
        z=values, x=list(range(num)), y=list(range(num)), zmin=-1, zmax=1, showscale=False, xgap=2, ygap=2,
        colorscale=[[0.0, behind], [0.5, colors.grid], [1.0, ahead]], hovertext=words, hoverinfo="text",
    )  # fmt: skip
    ticks = {"tickmode": "array", "tickvals": list(range(num)), "showgrid": False, "ticks": ""}
    names = short_labels([f"{number} {label}" for number, label in enumerate(labels, start=1)], 40)
    figure.update_yaxes(**ticks, ticktext=names, range=[num - 0.5, -0.5])
    figure.update_xaxes(
        **ticks, ticktext=[str(number) for number in range(1, num + 1)], side="top", range=[-0.5, num - 0.5],
        title_text=f"lead of the row in {literal(word)}, and images that it alone got right",
    )  # fmt: skip
    figure.update_layout(annotations=annotations, margin={"t": 64}, showlegend=False)
    return figure


def _text(win: Win) -> str:
    if not math.isfinite(win.lead):
        return "–"
    alone = "" if win.num_alone is None else f"<br>{win.num_alone}"
    return f"{win.lead:+.3f}{alone}".replace("-", "\u2212")


def _broken(sentence: str) -> str:
    """A sentence in lines of some 60 characters."""
    lines, line = [], ""
    for part in sentence.split():
        if len(line) + len(part) > 60:
            lines.append(line)
            line = ""
        line = f"{line} {part}".strip()
    return "<br>".join(literal(one, 80) for one in [*lines, line])
