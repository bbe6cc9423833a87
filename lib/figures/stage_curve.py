"""The curve of what each stage is worth, drawn in the grid of the strip above it: every point lies under its tile.

HTML with an SVG behind it, not Plotly: the columns of one CSS grid hold tiles and points alike, so that they stay
aligned at every width. Lines and areas are stretched with the plot; points, labels and intervals are not.
"""

import base64
import html
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lib.evaluation.resampling import Estimate
from lib.explain.stage_reading import score_words
from lib.explain.stage_worth import PRETRAINED, RANDOM, RUN, StageWorth
from lib.figures.style import TEXT_SIZE_PX, Palette, palette, strategy_style

PLOT_PX = 142
# Left of the stages: the image and what the lines are, then the axis.
_LEFT_PX, _AXIS_PX = 84, 44
# A second data set has a hue that no family of strategies has.
SECOND_COLOR = ("#7C3AED", "#A78BFA")
_LABEL_GAP = 0.14  # of the plot's height: an area that is lower than a line of text gets no label


@dataclass(frozen=True)
class StageTile:
    """A picture above a point, as an address, or `words` in its place; `link` is where a click leads."""

    title: str
    picture: str
    alt: str
    link: str = ""
    words: str = ""  # in the place of a picture


@dataclass(frozen=True)
class Line:
    """One curve: estimates of the stages in order (None where it ends before), and how it is drawn."""

    name: str
    points: tuple[Estimate | None, ...]
    color: str
    dash: str = ""  # of SVG, in pixels
    is_filled: bool = True


def curve_html(
    worth: StageWorth | None,
    tiles: Sequence[StageTile],
    *,
    second: StageWorth | None = None,
    run_strategy: str = "",
    cut: int | None = None,
    is_dark: bool,
    link_mark: str = "data-view-link",
) -> str:
    """The strip with the curves under it, and the cut through both.

    Args:
        worth: of the first data set; None before it is measured, which leaves the plot empty.
        tiles: the input, then one a stage, in the order of the rows of `worth`.
        second: of another data set, for the same network.
        run_strategy: of the run in `worth`, for its colour.
        cut: index of the last stage that is kept; None for no line.
        is_dark: whether the theme is.
        link_mark: the attribute of links that are followed in the same tab.
    """
    colors, number = palette(is_dark=is_dark), len(tiles) - 1
    scale = _Scale.of([one for one in (worth, second) if one is not None])
    lines = _lines(worth, second, run_strategy, is_dark=is_dark)
    columns = f"grid-template-columns:{_LEFT_PX}px repeat({number + 1},minmax(0,1fr))"
    cells = [_tile_cell(tile, place, cut, colors, link_mark) for place, tile in enumerate(tiles[1:])]
    left = (
        f'<div style="grid-column:1/3;grid-row:1/3;padding-right:{_AXIS_PX}px">{_figure(tiles[0])}'
        f"{_legend(lines, is_double=second is not None, colors=colors)}</div>"
    )
    below = f"position:relative;height:{PLOT_PX}px;margin-top:14px"
    return (
        f'<div style="display:grid;{columns};font-size:{TEXT_SIZE_PX}px;line-height:1.25">{left}{"".join(cells)}'
        f'<div style="grid-column:1/3;grid-row:2;{below}">{_axis(scale, colors)}</div>'
        f'<div style="grid-column:3/-1;grid-row:2;{below}">'
        f"{_plot(worth, lines, scale, tiles[1:], colors=colors, link_mark=link_mark)}</div>"
        f"{_cut_line(cut, number, colors)}</div>"
    )


@dataclass(frozen=True)
class _Scale:
    """What the axis counts: the metric itself, or, for two that differ, the share of the way from chance to 1."""

    low: float
    is_relative: bool
    ticks: tuple[float, ...]
    chance: float | None
    title: str

    @classmethod
    def of(cls, worths: Sequence[StageWorth]) -> "_Scale":
        if not worths:
            return cls(0.0, is_relative=False, ticks=(), chance=None, title="")
        is_relative = len({(worth.metric, round(worth.chance, 3)) for worth in worths}) > 1
        first = worths[0]
        chance = 0.0 if is_relative else first.chance
        title = "above chance" if is_relative else first.headline.word
        values = [
            _placed(value, worth, is_relative=is_relative)
            for worth in worths for row in worth.rows for curve in worth.curves
            if (point := row.score(curve)) is not None for value in (point.low, point.value) if math.isfinite(value)
        ]  # fmt: skip
        low = min([chance, *values])
        low = max(-0.5, (int(low * 20) - (low < 0)) / 20)
        steps = (0.0, 0.25, 0.5, 0.75, 1.0)
        ticks = tuple(step for step in steps if step >= low)
        return cls(low, is_relative=is_relative, ticks=ticks, chance=chance, title=title)

    def y(self, value: float, worth: StageWorth) -> float:
        """The place of a score, 0 at the bottom and 1 at the top."""
        placed = _placed(value, worth, is_relative=self.is_relative)
        return min(1.0, max(0.0, (placed - self.low) / (1 - self.low)))

    def plain_y(self, value: float) -> float:
        """The place of a number of the axis."""
        return (value - self.low) / (1 - self.low)


def _placed(value: float, worth: StageWorth, *, is_relative: bool) -> float:
    return (value - worth.chance) / (1 - worth.chance) if is_relative and worth.chance < 1 else value


def _lines(
    worth: StageWorth | None, second: StageWorth | None, run_strategy: str, *, is_dark: bool
) -> list[tuple[StageWorth, Line]]:
    colors = palette(is_dark=is_dark)
    lines: list[tuple[StageWorth, Line]] = []
    for one, color in ((worth, colors.accent), (second, SECOND_COLOR[is_dark])):
        if one is None:
            continue
        is_second = one is second
        for curve in (RANDOM, PRETRAINED, RUN):
            if curve not in one.curves:
                continue
            points = tuple(row.score(curve) for row in one.rows)
            if curve == RANDOM:
                random = SECOND_COLOR[is_dark] if is_second else colors.muted
                line = Line("random weights", points, random, "2 4", is_filled=False)
            elif curve == PRETRAINED:
                name = "pretrained" if second is None else one.dataset_title
                line = Line(name, points, color, "9 5" if is_second else "")
            else:
                line = Line(one.run_label, points, strategy_style(run_strategy, is_dark).color, "14 4 3 4")
            lines.append((one, line))
    return lines


def _plot(
    worth: StageWorth | None,
    lines: Sequence[tuple[StageWorth, Line]],
    scale: _Scale,
    tiles: Sequence[StageTile],
    *,
    colors: Palette,
    link_mark: str,
) -> str:
    if not lines:
        middle = "position:absolute;inset:0;display:flex;align-items:center;justify-content:center"
        return f'<div style="{middle};color:{colors.muted}">Not measured for these images yet.</div>'
    parts = [_picture(lines, scale, len(tiles), colors)]
    parts += [_borrowed_label(one, scale, colors) for one in (worth,) if one is not None]
    for one, line in lines:
        for place, point in enumerate(line.points):
            if point is not None:
                form: Any = {"scale": scale, "worth": one, "line": line, "is_best": _is_best(one, line, place)}
                parts.append(_point(point, place, len(tiles), colors=colors, **form))
    for place, tile in enumerate(tiles):
        said = html.escape(_column_words(lines, place, tile.title), quote=True)
        style = f"position:absolute;top:0;bottom:0;left:{_percent(place, len(tiles))};width:{_percent(1, len(tiles))}"
        opened = f'<a {link_mark}="" href="{html.escape(tile.link, quote=True)}"' if tile.link else "<span"
        parts.append(
            f'{opened} title="{said}" aria-label="{said}" style="{style}">{"</a>" if tile.link else "</span>"}'
        )
    return "".join(parts)


def _is_best(worth: StageWorth, line: Line, place: int) -> bool:
    main = tuple(row.score(worth.main) for row in worth.rows)
    return place == worth.best and line.points == main


def _picture(lines: Sequence[tuple[StageWorth, Line]], scale: _Scale, number: int, colors: Palette) -> str:
    """Grid, chance, areas and lines as one SVG that is stretched over the plot: x counts stages, y goes down to 100."""
    fixed = 'vector-effect="non-scaling-stroke" fill="none"'
    drawn = []
    for tick in scale.ticks:
        y = 100 * (1 - scale.plain_y(tick))
        drawn.append(f'<path d="M0 {y:.2f}H{number}" stroke="{colors.grid}" stroke-width="1" {fixed}/>')
    if scale.chance is not None:
        y = 100 * (1 - scale.plain_y(scale.chance))
        drawn.append(
            f'<path d="M0 {y:.2f}H{number}" stroke="{colors.muted}" stroke-width="1.5" stroke-dasharray="1 5" {fixed}/>'
        )
    by_worth: dict[int, list[tuple[StageWorth, Line]]] = {}
    for one, line in lines:
        by_worth.setdefault(id(one), []).append((one, line))
    for group in by_worth.values():
        paths = [_places(line, one, scale) for one, line in group]
        is_pair = len(group) > 1 and not group[0][1].is_filled and group[0][0].main == PRETRAINED
        if is_pair:
            area = " L".join(f"{x:.3f} {y:.2f}" for x, y in [*paths[1], *reversed(paths[0])])
            drawn.append(f'<path d="M{area}Z" fill="{group[1][1].color}" fill-opacity="0.13"/>')
        for path, (_, line) in zip(paths, group, strict=True):
            points = " L".join(f"{x:.3f} {y:.2f}" for x, y in path)
            dash = f' stroke-dasharray="{line.dash}"' if line.dash else ""
            width = 2.5 if line.is_filled else 2
            drawn.append(f'<path d="M{points}" stroke="{line.color}" stroke-width="{width}"{dash} {fixed}/>')
    content = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {number} 100" preserveAspectRatio="none" '
        f'width="{number}00" height="100">{"".join(drawn)}</svg>'
    )
    source = f"data:image/svg+xml;base64,{base64.b64encode(content.encode()).decode('ascii')}"
    return f'<img src="{source}" alt="" style="position:absolute;inset:0;width:100%;height:100%;max-width:none">'


def _places(line: Line, worth: StageWorth, scale: _Scale) -> list[tuple[float, float]]:
    return [
        (place + 0.5, 100 * (1 - scale.y(point.value, worth)))
        for place, point in enumerate(line.points) if point is not None and math.isfinite(point.value)
    ]  # fmt: skip


def _point(
    point: Estimate, place: int, number: int, *, scale: _Scale, worth: StageWorth, line: Line, is_best: bool,
    colors: Palette,
) -> str:  # fmt: skip
    """Marker and interval of a stage, and its value where it is the best one."""
    if not math.isfinite(point.value):
        return ""
    left, at = _percent(place + 0.5, number), scale.y(point.value, worth)
    parts = []
    if math.isfinite(point.low) and math.isfinite(point.high):
        low, high = scale.y(point.low, worth), scale.y(point.high, worth)
        parts.append(
            f'<span style="position:absolute;left:{left};bottom:{100 * low:.2f}%;height:{100 * (high - low):.2f}%;'
            f'width:2px;margin-left:-1px;background:{line.color};opacity:{0.55 if line.is_filled else 0.35}"></span>'
        )
    size = 13 if is_best else 9
    inside = line.color if line.is_filled else colors.background
    parts.append(
        f'<span data-point="{html.escape(line.name, quote=True)}" style="position:absolute;left:{left};'
        f"bottom:{100 * at:.2f}%;width:{size}px;height:{size}px;margin:0 0 {-size / 2}px {-size / 2}px;"
        f'border-radius:50%;box-sizing:border-box;border:2px solid {line.color};background:{inside}"></span>'
    )
    if is_best:
        # Above the point, but beside it where the plot ends.
        side = f"left:{left};bottom:calc({100 * at:.2f}% + 9px);transform:translateX(-50%)"
        if at > 0.86:
            side = f"right:calc(100% - {left} + 10px);bottom:{100 * at:.2f}%;transform:translateY(50%)"
        parts.append(
            f'<span style="position:absolute;{side};font-weight:700;'
            f"color:{line.color};background:color-mix(in srgb,{colors.background} 75%,transparent);padding:0 3px;"
            f'white-space:nowrap">best {worth.headline.text(point.value)}</span>'
        )
    return "".join(parts)


def _borrowed_label(worth: StageWorth, scale: _Scale, colors: Palette) -> str:
    """The word in the area between the curves, at its widest stage but the best one, whose value stands there."""
    gaps = []
    for place, row in enumerate(worth.rows):
        if row.pretrained is not None and row.random is not None and place != worth.best:
            upper, lower = scale.y(row.pretrained.value, worth), scale.y(row.random.value, worth)
            gaps.append((upper - lower, place, (upper + lower) / 2))
    if not gaps or max(gaps)[0] < _LABEL_GAP:
        return ""
    _, place, middle = max(gaps)
    left = min(max((place + 0.5) / len(worth.rows), 0.08), 0.92)
    return (
        f'<span style="position:absolute;left:{100 * left:.2f}%;bottom:{100 * middle:.2f}%;'
        f'transform:translate(-50%,50%);color:{colors.ink};font-style:italic">borrowed</span>'
    )


def _axis(scale: _Scale, colors: Palette) -> str:
    """The numbers at the left edge of the plot, and above them what they count."""
    ticks = "".join(
        f'<span style="position:absolute;right:6px;bottom:{100 * scale.plain_y(tick):.2f}%;transform:translateY(50%);'
        f'color:{colors.muted};font-variant-numeric:tabular-nums">{_tick(tick, scale)}</span>'
        for tick in scale.ticks
    )
    words = html.escape(scale.title)
    return f'{ticks}<span style="position:absolute;right:6px;bottom:-12px;color:{colors.muted}">{words}</span>'


def _legend(lines: Sequence[tuple[StageWorth, Line]], *, is_double: bool, colors: Palette) -> str:
    """A sample of each line under the image; of two data sets the dotted lines are said to be random once."""
    shown = [(line.name, line.color, line.dash) for _, line in reversed(lines) if line.is_filled or not is_double]
    if is_double:
        shown.append(("random weights", colors.muted, "2 4"))
    parts = []
    for name, color, dash in shown:
        dashes = f' stroke-dasharray="{dash}"' if dash else ""
        sample = (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="22" height="8"><path d="M0 4H22" stroke="{color}" '
            f'stroke-width="2.5"{dashes}/></svg>'
        )
        source = f"data:image/svg+xml;base64,{base64.b64encode(sample.encode()).decode('ascii')}"
        words = html.escape(name)
        # Two lines at most, of names that people gave.
        cut = "display:-webkit-box;-webkit-line-clamp:2;-webkit-box-orient:vertical;overflow:hidden;min-width:0"
        parts.append(
            f'<div title="{html.escape(name, quote=True)}" style="margin-top:3px;display:flex;gap:5px">'
            f'<img src="{source}" alt="" style="flex:none;margin-top:5px;height:8px">'
            f'<div style="{cut}">{words}</div></div>'
        )
    return f'<div style="margin-top:6px">{"".join(parts)}</div>'


def _tick(tick: float, scale: _Scale) -> str:
    if scale.chance is not None and tick == scale.chance == 0:
        return "0"
    return f"{tick:.2f}".rstrip("0").rstrip(".") if tick % 1 else f"{tick:.0f}"


def _tile_cell(tile: StageTile, place: int, cut: int | None, colors: Palette, link_mark: str) -> str:
    """A tile over its bar: filled where the stage is frozen and borrowed, outlined where it is new."""
    figure = _figure(tile)
    if tile.link:
        figure = (
            f'<a {link_mark}="" href="{html.escape(tile.link, quote=True)}" '
            f'style="display:block;color:inherit;text-decoration:none">{figure}</a>'
        )
    bar = ""
    if cut is not None:
        is_frozen = place <= cut
        fill = colors.accent if is_frozen else "transparent"
        bar = (
            f'<div title="{"frozen and borrowed" if is_frozen else "new"}" style="height:8px;margin:4px 0 0;'
            f'box-sizing:border-box;border-radius:3px;border:2px solid {colors.accent};background:{fill}"></div>'
        )
    return f'<div style="grid-column:{place + 3};grid-row:1;padding:0 3px;min-width:0">{figure}{bar}</div>'


def _figure(tile: StageTile) -> str:
    alt = html.escape(tile.alt, quote=True)
    box = "width:100%;aspect-ratio:1;display:block;border-radius:4px"
    picture = (
        f'<img src="{tile.picture}" alt="{alt}" title="{alt}" style="{box};object-fit:cover">'
        if tile.picture
        else f'<div title="{alt}" role="img" aria-label="{alt}" style="{box};box-sizing:border-box;'
        "border:1px dashed color-mix(in srgb,currentColor 40%,transparent);display:flex;align-items:center;"
        f'text-align:center;justify-content:center;overflow:hidden">{html.escape(tile.words)}</div>'
    )
    words = html.escape(tile.title)
    return (
        f'<figure style="margin:0;min-width:0">{picture}<figcaption style="text-align:center;margin:3px -3px 0;'
        f'overflow:hidden;white-space:nowrap;text-overflow:ellipsis">{words}</figcaption></figure>'
    )


def _cut_line(cut: int | None, number: int, colors: Palette) -> str:
    """The line through strip and plot, with what lies on its sides."""
    if cut is None:
        return ""
    left = _percent(cut + 1, number)
    words = (
        ("right:calc(100% + 6px)", "frozen, borrowed"),
        ("left:calc(100% + 6px)", "new"),
    )
    said = "".join(
        f'<span style="position:absolute;bottom:-4px;{side};white-space:nowrap;color:{colors.ink};'
        f'background:color-mix(in srgb,{colors.background} 80%,transparent)">{text}</span>'
        for side, text in words
        if text != "new" or cut < number - 1
    )
    return (
        '<div style="grid-column:3/-1;grid-row:1/3;position:relative;pointer-events:none">'
        f'<div data-cut="" style="position:absolute;left:{left};top:0;bottom:-6px;width:0;margin-left:-1px;'
        f'border-left:2px dashed {colors.ink}">{said}</div></div>'
    )


def _column_words(lines: Sequence[tuple[StageWorth, Line]], place: int, title: str) -> str:
    """All that is known of a stage, for a pointer that rests on its column."""
    said = [
        f"{line.name} {score_words(one, point)}"
        for one, line in reversed(lines) if (point := line.points[place]) is not None
    ]  # fmt: skip
    return f"{title}: {'; '.join(said)}" if said else title


def _percent(part: float, whole: int) -> str:
    return f"{100 * part / whole:.4f}%"
