"""One look for every figure: colours, template, line styles per strategy. Contrast is at least 3:1 in both themes."""

import html
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from lib.training.strategies import STRATEGIES

TEXT_SIZE_PX = 14
MAX_SCATTER_POINTS = 20_000
TOP_LEFT = {"xref": "container", "x": 0.02, "yref": "container", "y": 1.0, "yanchor": "top"}  # of a title


@dataclass(frozen=True)
class Palette:
    """What is not data: ink for text, muted for secondary text, grid, and the one accent."""

    ink: str
    muted: str
    grid: str
    background: str
    accent: str


LIGHT = Palette(ink="#111827", muted="#5B6472", grid="#E3E7E6", background="#FCFCFB", accent="#0F766E")
DARK = Palette(ink="#E5E7EB", muted="#9CA3AF", grid="#2A3432", background="#0F1413", accent="#2DD4BF")

# One hue per family of strategies: (light theme, dark theme).
FAMILY_COLORS = {
    "no_network": ("#6B7280", "#9CA3AF"),
    "frozen": ("#0067A5", "#60A5FA"),
    "partly_tuned": ("#00795C", "#34D399"),
    "fully_tuned": ("#C2410C", "#FB923C"),
    "from_scratch": ("#111827", "#E5E7EB"),
}
# Splits are shades of the accent, not hues: hues mean strategies.
SPLIT_COLORS = {
    "train": ("#0F766E", "#2DD4BF"),
    "val": ("#5FA8A1", "#1B8F82"),
    "test": ("#B3D4D0", "#115E56"),
}
_OTHER_SIGN = ("cross", "✚")


@dataclass(frozen=True)
class StrategyStyle:
    """How a strategy is drawn on every page."""

    color: str
    dash: str
    marker: str = _OTHER_SIGN[0]
    sign: str = _OTHER_SIGN[1]


def palette(*, is_dark: bool) -> Palette:
    """The theme's colours."""
    return DARK if is_dark else LIGHT


def strategy_style(strategy: str, is_dark: bool) -> StrategyStyle:  # noqa: FBT001
    """Colour by family, dash and sign by strategy; an unknown strategy (a run of another version) is grey and solid."""
    if strategy not in STRATEGIES:
        return StrategyStyle(palette(is_dark=is_dark).muted, "solid")
    spec = STRATEGIES.get(strategy)
    return StrategyStyle(FAMILY_COLORS[spec.family][is_dark], spec.line_dash, *spec.sign)


def literal(name: object, max_characters: int = 60) -> str:
    """A name that people gave, safe in a figure: Plotly reads tags, entities and, with MathJax, dollar signs."""
    text = " ".join(str(name).split())
    if len(text) > max_characters:
        text = f"{text[: max_characters - 1]}…"
    return html.escape(text, quote=False).replace("$", "&#36;")


def short_labels(names: Sequence[str], max_characters: int) -> list[str]:
    """`short_names` that are safe in a figure."""
    return [literal(name, max_characters) for name in short_names(names, max_characters)]


def short_names(names: Sequence[str], max_characters: int) -> list[str]:
    """Names of at most so many characters, still apart where they begin alike.

    A name that is cut keeps its end too; names that are alike even so get their number in front, counted from 1.
    """
    lines = [" ".join(str(name).split()) for name in names]
    short = [_cut(line, max_characters) for line in lines]
    taken = Counter(short)
    return [
        label if taken[label] == 1 else f"{number} {_cut(line, max_characters - len(str(number)) - 1)}"
        for number, (label, line) in enumerate(zip(short, lines, strict=True), start=1)
    ]


def _cut(line: str, max_characters: int) -> str:
    """The beginning and, behind an ellipsis, the last third of a line."""
    if len(line) <= max_characters:
        return line
    end = max_characters // 3
    return f"{line[: max_characters - 1 - end]}…{line[-end:]}"


def accent_ramp(*, is_dark: bool, lowest: float = 0.0) -> list[list[object]]:
    """A one-hue colour scale from the background to the accent, for shares between 0 and 1.

    `lowest` is how far along it the smallest share above 0 begins, so that small cells can be seen.
    """
    colors = palette(is_dark=is_dark)
    if not lowest:
        return [[0.0, colors.background], [1.0, colors.accent]]
    pairs = zip(bytes.fromhex(colors.background[1:]), bytes.fromhex(colors.accent[1:]), strict=True)
    first = "#" + "".join(f"{round(a + lowest * (b - a)):02X}" for a, b in pairs)
    return [[0.0, colors.background], [1e-6, first], [1.0, colors.accent]]


def new_figure(*, is_dark: bool, height: int) -> go.Figure:
    """An empty figure in the house template: no background of its own, no chart junk, text of 14 px."""
    colors = palette(is_dark=is_dark)
    axis = {
        "gridcolor": colors.grid,
        "zeroline": False,
        "linecolor": colors.grid,
        "tickfont": {"size": TEXT_SIZE_PX, "color": colors.muted},
        "title": {"font": {"size": TEXT_SIZE_PX, "color": colors.muted}},
        "automargin": True,
    }
    # As a whole: to update a figure takes ten times as long, most of it for Plotly's own template.
    layout = {
        "template": "none",
        "height": height,
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": "'Source Sans', sans-serif", "size": TEXT_SIZE_PX, "color": colors.ink},
        "margin": {"l": 8, "r": 8, "t": 40, "b": 8},
        "title": {"font": {"size": 16, "color": colors.ink}, "x": 0, "xanchor": "left", "xref": "paper"},
        "hoverlabel": {"bgcolor": colors.background, "font": {"size": TEXT_SIZE_PX, "color": colors.ink}},
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "font": {"size": TEXT_SIZE_PX}},
        "xaxis": axis,
        "yaxis": axis,
    }
    return go.Figure(layout=layout)


def spread(positions: list[float], gap: float, *, highest: float = math.inf) -> list[float]:
    """Move label positions apart until neighbours are `gap` away, keeping their order and their common middle.

    None comes to lie above `highest`, where a figure would not draw it; those below it make room.
    """
    order = sorted(range(len(positions)), key=positions.__getitem__)
    # Less their ranks, labels that touch fall: each run of such labels takes its mean (isotonic regression by pooling).
    runs: list[tuple[float, int]] = []
    for rank, index in enumerate(order):
        mean, count = positions[index] - gap * rank, 1
        while runs and runs[-1][0] > mean:
            other, more = runs.pop()
            mean, count = (mean * count + other * more) / (count + more), count + more
        runs.append((mean, count))
    rising = [mean + gap * rank for rank, mean in enumerate(mean for mean, count in runs for _ in range(count))]
    placed = list(positions)
    for index, place in zip(reversed(order), reversed(rising), strict=True):
        placed[index] = min(place, highest)
        highest = placed[index] - gap
    return placed
