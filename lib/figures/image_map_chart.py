"""Maps of images as figures: a point an image, coloured by class, split, answer of a run, error or flag."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import plotly.graph_objects as go

from lib.data.dataset import says_ungradable
from lib.data.splits import EXCLUDED
from lib.errors import UserError
from lib.figures.data_charts import SPLIT_TITLES
from lib.figures.style import SPLIT_COLORS, literal, new_figure, palette, short_labels

if TYPE_CHECKING:
    from lib.explain.class_separation import Separation
    from lib.tracking.tested import TestedRun

COLOURS = {
    "class": "Class",
    "split": "Split",
    "prediction": "A run's answer",
    "error": "A run's errors",
    "flag": "Flag",
}
OF_A_RUN = ("prediction", "error")
MAX_COLOURED = 8  # classes; more colours are not told apart
# (light, dark): at least 3:1 against the page in both themes, and 20 apart from each other in CIELAB, also to people
# who see no red or no green (Machado et al. 2009); each with its own sign.
CLASS_COLORS = (
    ("#0067A5", "#60A5FA"), ("#C2410C", "#FB923C"), ("#14532D", "#117733"), ("#CC6677", "#AA4499"),
    ("#3B0F70", "#2563EB"), ("#111827", "#FFFFFF"), ("#2563EB", "#D9F99D"), ("#164E63", "#A8A29E"),
)  # fmt: skip
SIGNS = ("circle", "diamond", "square", "triangle-up", "cross", "x", "star", "triangle-down")
# viridis (Smith and van der Walt 2015) between the ends that do not fade into the page: grades, in their order.
_RAMPS = (
    ("#440154", "#414487", "#2A788E", "#22A884", "#5DAF3C"),
    ("#7E6BC4", "#4C8FBF", "#22A884", "#7AD151", "#FDE725"),
)
_HEIGHT_PX = 400
_SIZES_PX = ((5_000, 4), (1_000, 5), (200, 7), (0, 9))  # from how many points on a point has which size


@dataclass(frozen=True)
class PointGroup:
    """Points that look the same: what they are called, their colours (light, dark), their sign."""

    title: str
    colors: tuple[str, str]
    sign: str = "circle"
    is_quiet: bool = False  # behind the others, and pale: those that are not spoken of


@dataclass(frozen=True, eq=False)
class PointColours:
    """Which group each of N points belongs to, by number; `note` says what the groups leave out, in a sentence."""

    title: str
    groups: tuple[PointGroup, ...]
    numbers: np.ndarray
    note: str = ""

    def counts(self, points: np.ndarray | None = None) -> list[tuple[str, int]]:
        """How many points a group has, of all or of those, in the order of the groups; without the empty ones."""
        numbers = self.numbers if points is None else self.numbers[points]
        found = np.bincount(numbers, minlength=len(self.groups))
        return [(group.title, int(number)) for group, number in zip(self.groups, found, strict=True) if number]


def point_colours(
    by: str,
    dataset: Any,
    rows: np.ndarray,
    split: np.ndarray,
    *,
    tested: "TestedRun | None" = None,
    chosen: Sequence[str] = (),
) -> PointColours:
    """What the points of a map are coloured by.

    Args:
        by: a key of `COLOURS`.
        dataset: with `table` and `spec`.
        rows: the data set's rows of the points (N,).
        split: of all rows of the data set.
        tested: the answers of a run, where `by` is of a run.
        chosen: names of the classes that get a colour where there are too many; by default the most frequent ones.

    Raises:
        UserError: an unknown `by`, or one of a run without a run.
    """
    if by not in COLOURS:
        raise UserError(f"There is no colouring {by!r}; choose one of: {', '.join(COLOURS)}.")
    table = dataset.table.iloc[rows]
    if by == "split":
        return _by_split(split[rows])
    if by == "flag":
        return _by_flag(table["flags"].fillna("").astype(str).to_numpy(), split[rows])
    if by == "class":
        names, targets = tuple(dataset.spec.class_names), table["target"].to_numpy()
        return _by_class("Class", names, targets, is_ordinal=dataset.spec.is_ordinal, chosen=chosen)
    if tested is None:
        raise UserError(f"The colouring {by!r} shows what a run answers; choose a finished run (--run ID).")
    place = {image_id: number for number, image_id in enumerate(tested.image_ids)}
    found = np.array([place.get(image_id, -1) for image_id in table["image_id"]], dtype=np.int64)
    if by == "error":
        return _by_error(found, tested)
    answers = np.where(found >= 0, tested.answers[found], -1)
    return _by_class(
        "Answer", tuple(tested.class_names), answers, is_ordinal=tested.is_ordinal, chosen=chosen, other="Not tested"
    )


def _quiet(title: str) -> PointGroup:
    return PointGroup(title, (palette(is_dark=False).muted, palette(is_dark=True).muted), is_quiet=True)


def _by_class(
    title: str, names: Sequence[str], targets: np.ndarray, *, is_ordinal: bool, chosen: Sequence[str], other: str = ""
) -> PointColours:
    """Each class a colour and a sign, or those of `chosen` where there are too many; -1 is `other`."""
    present = np.bincount(targets[targets >= 0], minlength=len(names))
    if is_ordinal and len(names) > 1:
        groups = [PointGroup(name, _ramp(number / (len(names) - 1))) for number, name in enumerate(names)]
        numbers, note = targets.copy(), ""
    else:
        kept, note = list(range(len(names))), ""
        if len(names) > MAX_COLOURED:
            known = [names.index(name) for name in dict.fromkeys(chosen) if name in names]
            most = np.argsort(-present, kind="stable")[:MAX_COLOURED]
            kept = known[:MAX_COLOURED] or sorted(int(number) for number in most)
            note = f"{len(kept)} of {len(names)} classes have a colour: more are not told apart by eye."
        groups = [
            PointGroup(names[number], CLASS_COLORS[place % MAX_COLOURED], SIGNS[place % len(SIGNS)])
            for place, number in enumerate(kept)
        ]
        numbers = np.full(len(targets), -1)
        for place, number in enumerate(kept):
            numbers[targets == number] = place
        if len(kept) < len(names):
            groups.append(_quiet(f"{len(names) - len(kept)} other classes"))
            numbers[(numbers < 0) & (targets >= 0)] = len(groups) - 1
    if (numbers < 0).any():
        groups.append(_quiet(other or "No class"))
        numbers = np.where(numbers < 0, len(groups) - 1, numbers)
    return PointColours(title, tuple(groups), numbers, note)


def _ramp(share: float) -> tuple[str, str]:
    """The colours of a grade at a share of the way from the lowest to the highest."""

    def at(ramp: Sequence[str]) -> str:
        place = share * (len(ramp) - 1)
        low = min(int(place), len(ramp) - 2)
        pairs = zip(*(bytes.fromhex(color[1:]) for color in ramp[low : low + 2]), strict=True)
        return "#" + "".join(f"{round(a + (place - low) * (b - a)):02X}" for a, b in pairs)

    return at(_RAMPS[0]), at(_RAMPS[1])


def _by_split(split: np.ndarray) -> PointColours:
    titles = {**SPLIT_TITLES}
    signs = dict(zip(SPLIT_TITLES, ("circle", "square", "diamond"), strict=True))
    groups = [PointGroup(title, SPLIT_COLORS[name], signs[name]) for name, title in titles.items()]
    numbers = np.full(len(split), len(groups))
    for number, name in enumerate(titles):
        numbers[split == name] = number
    groups.append(_quiet("In no part" if (split == "").any() else "Excluded"))
    return PointColours("Split", tuple(groups), numbers)


def _by_flag(flags: np.ndarray, split: np.ndarray) -> PointColours:
    """Excluded images first: what else is said of them does not matter any more."""
    groups = (
        _quiet("No flag"), PointGroup("Ungradable", CLASS_COLORS[1], "x"),
        PointGroup("Another note", CLASS_COLORS[0], "diamond"), PointGroup("Excluded", CLASS_COLORS[5], "cross"),
    )  # fmt: skip
    is_poor = np.array([says_ungradable(one) for one in flags.astype(str)], dtype=bool)
    numbers = np.where(is_poor, 1, np.where(flags != "", 2, 0))
    return PointColours("Flag", groups, np.where(split == EXCLUDED, 3, numbers))


def _by_error(found: np.ndarray, tested: "TestedRun") -> PointColours:
    groups = (_quiet("Not tested"), PointGroup("Right", CLASS_COLORS[0]), PointGroup("Wrong", CLASS_COLORS[1], "x"))
    is_right = tested.answers[found] == tested.targets[found]
    return PointColours("Error", groups, np.where(found < 0, 0, np.where(is_right, 1, 2)))


def drawn_order(colours: PointColours) -> list[tuple[PointGroup, np.ndarray]]:
    """The traces of the figure, in their order: each group with the numbers of its points."""
    order = sorted(range(len(colours.groups)), key=lambda number: not colours.groups[number].is_quiet)
    found = ((colours.groups[number], np.flatnonzero(colours.numbers == number)) for number in order)
    return [(group, points) for group, points in found if len(points)]


def image_map_figure(
    points: np.ndarray,
    colours: PointColours,
    *,
    is_dark: bool,
    names: Sequence[str] = (),
    selected: np.ndarray | None = None,
    height_px: int = _HEIGHT_PX,
) -> go.Figure:
    """Points (N, 2) by WebGL; the axes have no unit, so that they have no numbers either.

    Args:
        points: places.
        colours: of `point_colours`.
        is_dark: theme.
        names: of the images (N,), said when one is hovered over.
        selected: numbers of the points that stand out; by default all.
        height_px: of the figure.
    """
    figure = new_figure(is_dark=is_dark, height=height_px)
    size = next(size for least, size in _SIZES_PX if len(points) >= least)
    titles = short_labels([group.title for group, _ in drawn_order(colours)], 26)
    for (group, own), title in zip(drawn_order(colours), titles, strict=True):
        chosen = None if selected is None else np.flatnonzero(np.isin(own, selected))
        hover = {"hovertext": [literal(names[row], 60) for row in own]} if len(names) else {}
        figure.add_scattergl(
            x=points[own, 0], y=points[own, 1], mode="markers", name=f"{title} ({len(own):,})", selectedpoints=chosen,
            marker={"color": group.colors[is_dark], "size": size, "symbol": group.sign,
                    "opacity": 0.35 if group.is_quiet else 0.8, "line": {"width": 0}},
            unselected={"marker": {"opacity": 0.12}}, **hover,
            hovertemplate=title + (": %{hovertext}" if hover else "") + "<extra></extra>",
        )  # fmt: skip
    for axes in (figure.update_xaxes, figure.update_yaxes):
        axes(showgrid=False, showticklabels=False, showline=False, zeroline=False)
    figure.update_yaxes(scaleanchor="x", scaleratio=1)
    rows = -(-len(titles) // 4)
    colors = palette(is_dark=is_dark)
    figure.update_layout(
        showlegend=True, dragmode="lasso", margin={"t": 32 + 24 * rows, "b": 0, "l": 0, "r": 0},
        legend={"itemsizing": "constant", "traceorder": "normal", "y": 1.0},
        modebar={"bgcolor": "rgba(0,0,0,0)", "color": colors.muted, "activecolor": colors.accent},
    )  # fmt: skip
    return figure


def save_image_map(points: np.ndarray, colours: PointColours, path: Path, *, title: str, note: str) -> None:
    """Write a map as a PNG picture, with what it shows above and below."""
    from matplotlib.figure import Figure

    colors = palette(is_dark=False)
    signs = dict(zip(SIGNS, "oDs^PX*v", strict=True))
    figure = Figure(figsize=(9, 7.5), dpi=160, facecolor=colors.background, layout="constrained")
    axes = figure.add_subplot(facecolor=colors.background)
    size = 6 * next(size for least, size in _SIZES_PX if len(points) >= least)
    for group, own in drawn_order(colours):
        axes.scatter(
            points[own, 0], points[own, 1], s=size, c=group.colors[0], marker=signs[group.sign], linewidths=0,
            alpha=0.35 if group.is_quiet else 0.8, label=f"{_mathless(group.title)} ({len(own):,})",
        )  # fmt: skip
    axes.set(xticks=[], yticks=[], aspect="equal")
    axes.set_title(_mathless(title), loc="left")
    axes.set_xlabel(_mathless(note), loc="left", wrap=True)
    axes.spines[:].set_visible(False)
    figure.legend(loc="outside right upper", frameon=False)
    figure.savefig(path, format="png")


def _mathless(text: str) -> str:
    """Text in which Matplotlib sees no formula."""
    return " ".join(text.split())[:400].replace("$", r"\$")


def separation_figure(
    titles: Sequence[str],
    separations: "Sequence[Separation | None]",
    *,
    is_dark: bool,
    current: int | None = None,
    height_px: int = 190,
) -> go.Figure:
    """How many of an image's nearest are of its own class, stage by stage, with intervals and what chance would give.

    Args:
        titles: of the stages.
        separations: of each stage; None where nothing can be said.
        is_dark: theme.
        current: the number of the stage that is shown in large, marked.
        height_px: of the figure.
    """
    figure, colors = new_figure(is_dark=is_dark, height=height_px), palette(is_dark=is_dark)
    known = [(number, one) for number, one in enumerate(separations) if one is not None]
    numbers, values = [number + 1 for number, _ in known], [one.purity for _, one in known]
    labels = short_labels(titles, 40)
    figure.add_scatter(
        x=numbers, y=values, mode="lines+markers", line={"color": colors.accent, "width": 2},
        marker={"size": [14 if number == current else 7 for number, _ in known], "color": colors.accent},
        error_y={"type": "data", "symmetric": False, "array": [one.high - one.purity for _, one in known],
                 "arrayminus": [one.purity - one.low for _, one in known], "thickness": 1, "width": 3},
        hovertext=[labels[number] for number, _ in known], hovertemplate="%{hovertext}: %{y:.2f}<extra></extra>",
    )  # fmt: skip
    if known:
        chance = known[0][1].chance
        figure.add_hline(y=chance, line={"color": colors.muted, "width": 1, "dash": "dash"})
        figure.add_annotation(
            x=1, xref="paper", y=chance, xanchor="right", yanchor="top", text="by chance", showarrow=False,
            font={"color": colors.muted},
        )  # fmt: skip
    figure.update_xaxes(title_text="Stage", dtick=1, range=[0.5, len(titles) + 0.5])
    figure.update_yaxes(title_text="Same class", range=[0, 1.02], tickvals=[0, 0.5, 1])
    figure.update_layout(showlegend=False, margin={"t": 8})
    return figure
