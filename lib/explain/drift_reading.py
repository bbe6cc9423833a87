"""What moved, in words: only what the numbers bear out. Page and command print the same sentences."""

import math
from collections.abc import Sequence
from statistics import NormalDist

from lib.evaluation.comparison import SIGNIFICANCE
from lib.evaluation.metric_table import KAPPA, Metric
from lib.evaluation.resampling import Estimate
from lib.explain.concepts import ConceptTest
from lib.explain.drift import Drift, ResetTable, StageDrift, StageReset

LEAST_P = 0.001  # smaller p values are not written out
UNCHANGED = 0.98  # CKA above which what a stage answers to is called nearly unchanged


def sentences(drift: Drift, resets: ResetTable | None = None) -> list[str]:
    """What moved most, what stayed, what it costs to put stages back, and what probes read."""
    put_back = resets_sentence(resets) if resets is not None else ""
    parts = [_weight_sentence(drift), _answer_sentence(drift), put_back, _probe_sentence(drift)]
    return [part for part in parts if part]


def reading(drift: Drift, resets: ResetTable | None = None) -> str:
    """The sentences as one text."""
    return " ".join(sentences(drift, resets))


def method(drift: Drift) -> str:
    """How the numbers came about, for the line under the figures."""
    units = "" if drift.num_units == drift.num_images else f" of {drift.num_units:,} groups (patients), kept together"
    seen = "none of which the run was trained on" if drift.is_held_out else "some of which the run may have trained on"
    fitted = f"fitted on {drift.num_fitted:,} others" + (f" in {drift.num_folds} folds" if drift.num_folds else "")
    return " ".join(
        filter(
            None,
            (
                f"Before: {drift.backbone_title}, {drift.start}; after: {drift.run_label}. Change of weights: the "
                "length of the difference over the length of what was there.",
                f"CKA: linear and debiased, on pooled outputs for {drift.num_images:,} images{units}, {seen}; 95 % "
                "intervals from halves of the images.",
                f"Probes: logistic regression, {fitted}; told is a difference that holds with all stages tried."
                if drift.num_fitted
                else f"No probes: {drift.why_no_probes}",
                drift.split_caveat,
            ),
        )
    )


def reset_sentence(table: ResetTable, row: StageReset) -> str:
    """What one reset did: the score with its interval, and the paired difference."""
    what = stages_words(table, row.stages)
    score = f"{table.headline.word} {_with_ends(table.headline, row.score)}"
    beside = "" if table.headline is not KAPPA else f", accuracy {100 * row.accuracy:.1f}\u00a0%"
    said = f"With {what} put back: {score}{beside}, where the run has {_with_ends(table.headline, table.score)}."
    if not math.isfinite(row.cost.value):
        return f"{said} The difference is not defined on these {table.num_images} images."
    p_value = f"p {'= ' if row.p_value >= LEAST_P else ''}{p_words(row.p_value)}"
    numbers = f"{row.num_changed} of {table.num_images} answers changed, {p_value}"
    if row.num_changed == 0:
        return f"{said} No answer changed."
    if not _is_shown(row, 1):
        return f"{said} No difference is shown: {_cost_words(table, row.cost)} ({numbers})."
    verb = "costs" if row.cost.value > 0 else "gains"
    return f"{said} It {verb} {_cost_words(table, row.cost, is_size=True)} ({numbers})."


def resets_sentence(table: ResetTable) -> str:
    """Which stages cost something when put back alone; p values are multiplied by the number of stages tried (Holm)."""
    single = [row for row in table.rows if len(row.stages) == 1]
    if not single:
        return ""
    shown = _holm(single)
    costly = sorted((row for row in shown if row.cost.value > 0), key=lambda row: -row.cost.value)
    gaining = [row for row in shown if row.cost.value < 0]
    parts = [
        f"{stages_words(table, row.stages)} {verb} {_cost_words(table, row.cost, is_size=True)}"
        for rows, verb in ((costly, "costs"), (gaining, "gains"))
        for row in rows[:3]
    ]
    if not parts:
        how_many = "it" if len(single) == 1 else f"none of the {len(single)} stages that were tried"
        said = f"Put back as they were, one at a time, {how_many} changes the {table.headline.word} by more than chance"
        return f"{said} at n = {table.num_images}{_all_words(table)}."
    rest = len(single) - len(shown)
    others = f"; of {'the other' if rest == 1 else f'the other {rest}'} no difference is shown" if rest else ""
    return f"Put back as it was, {', '.join(parts)}{others}{_all_words(table)}."


def concept_sentence(test: ConceptTest) -> str:
    """Which concepts raise or lower the class's score at which stages, as far as it is more than random directions."""
    parts = []
    for concept in test.concepts:
        shown = [row for row in test.rows if row.concept == concept and row.is_shown]
        for rows, verb in (
            ([row for row in shown if row.score.value > row.random.value], "raises"),
            ([row for row in shown if row.score.value < row.random.value], "lowers"),
        ):
            if rows:
                numbers = [test.stages.index(row.stage) for row in rows]
                parts.append(f"{concept} {verb} it at {_spans(numbers, test.stages)}")
    about = f"the score of {test.class_name} ({test.num_target_images} images of it asked)"
    none = [name for name in test.concepts if not any(row.concept == name and row.is_shown for row in test.rows)]
    if not parts:
        said = f"No concept is shown to change {about} more than random directions do."
    else:
        rest = f" Not shown: {', '.join(none)}." if none else ""
        said = f"Of {about}: {'; '.join(parts)}.{rest}"
    return " ".join((said, *test.notes))


def concept_method(test: ConceptTest) -> str:
    """How a concept test came about."""
    return (
        "TCAV: the share of the images whose score of the class rises towards the concept, against "
        f"{test.num_counterparts} random sets of counterparts ({test.counterpart}) and {test.num_random} directions "
        f"between random sets; t-tests, p values times the {len(test.rows)} tests (Bonferroni). A concept that goes "
        "along with the class, or with how images were taken, counts as well: no proof of a cause."
    )


def p_words(p_value: float) -> str:
    """A p value as it stands in a table: "0.031", "below 0.001", "not defined"."""
    if not math.isfinite(p_value):
        return "not defined"
    return f"{p_value:.3f}" if p_value >= LEAST_P else f"below {LEAST_P}"


def stages_words(table: ResetTable, stages: Sequence[str]) -> str:
    """Some stages by name: "block 6 (block6)", "block5 to block7", "all stages"."""
    names = list(table.titles)
    if len(stages) == 1:
        return f"{stages[0]} ({table.titles.get(stages[0], stages[0])})"
    if list(stages) == names:
        return "all stages"
    return _spans([names.index(name) for name in stages], names)


def _all_words(table: ResetTable) -> str:
    """What it costs to put back everything that was trained together, where that was measured."""
    longest = max(table.rows, key=lambda row: len(row.stages))
    if len(longest.stages) < 2 or not math.isfinite(longest.cost.value):
        return ""
    all_stages = stages_words(table, longest.stages)
    if not _is_shown(longest, 1):
        return f"; {all_stages} together: no difference is shown"
    verb = "cost" if longest.cost.value > 0 else "gain"
    return f"; {all_stages} together {verb} {_cost_words(table, longest.cost, is_size=True)}"


def _weight_sentence(drift: Drift) -> str:
    """Where the weights moved most: plain facts of the two files, so that no interval is needed."""
    moved = [row for row in drift.rows if row.has_moved]
    if not moved:
        return "No weight moved: the run's network is the one that it started from."
    names = [row.stage for row in drift.rows]
    # Not the total: scales of BatchNorm are long and hardly move, so that a stage with many of them would look still.
    largest = max((row.weights for row in moved if math.isfinite(row.weights)), default=math.nan)
    if not largest > 0:
        said = "Training moved no weight of a convolution or linear layer, only normalisation"
    else:
        top = [row for row in moved if row.weights >= 0.8 * largest]
        who = _spans([names.index(row.stage) for row in top], names)
        up_to = "" if len(top) == 1 else "up to "
        said = f"Training moved the weights of {who} most ({up_to}{_change(largest)} of their length)"
    frozen = [number for number, row in enumerate(drift.rows) if row.num_parameters and not row.has_moved]
    if frozen:
        said += f"; {_spans(frozen, names)} did not move at all"
    statistics = max(moved, key=lambda row: -1.0 if math.isnan(row.statistics) else row.statistics)
    if statistics.statistics > 2 * largest > 0:
        said += (
            f"; BatchNorm's statistics moved more than the weights, most in {statistics.stage} "
            f"({_change(statistics.statistics)})"
        )
    return f"{said}."


def _answer_sentence(drift: Drift) -> str:
    """What of the answers to images stayed, and where they changed most, by the bounds of CKA."""
    names, moved = [row.stage for row in drift.rows], [row for row in drift.rows if row.has_moved]
    if not moved:
        return ""
    kept = 0
    while kept < len(drift.rows) and _stays(drift.rows[kept]):
        kept += 1
    parts = []
    if kept == len(drift.rows):
        return f"Still, what all stages answer to is nearly unchanged (CKA above {UNCHANGED})."
    if kept and drift.rows[kept - 1].has_moved:
        stages = names[0] if kept == 1 else f"{names[kept - 1]} and earlier"
        parts.append(f"what {stages} answer{'s' if kept == 1 else ''} to is nearly unchanged (CKA above {UNCHANGED})")
    known = [row for row in drift.rows if math.isfinite(row.cka.high)]
    changed = [row for row in known if row.cka.high < UNCHANGED]
    if changed:
        lowest = min(changed, key=lambda row: row.cka.value)
        ends = f"{lowest.cka.value:.2f}, {max(lowest.cka.low, 0.0):.2f} to {lowest.cka.high:.2f}"
        # Others whose interval reaches into that of the lowest may be it as well.
        least = [row.stage for row in changed if row.cka.low < lowest.cka.high]
        at = "" if len(least) == 1 else f" at {lowest.stage}"
        parts.append(
            f"the answers of {_spans([names.index(name) for name in least], names)} are the least like those before "
            f"(CKA {ends}{at})"
        )
    if not parts:
        return f"Whether the answers of any stage changed is not shown at n = {drift.num_images}."
    said = "; ".join(parts)
    return f"{said[:1].upper()}{said[1:]}."


def _stays(row: StageDrift) -> bool:
    return (not row.has_moved and row.cka.value == 1) or row.cka.low >= UNCHANGED


def _probe_sentence(drift: Drift) -> str:
    """Where a probe reads more or less than before: only what the intervals of the differences bear out."""
    gains = {row.stage: row.gained for row in drift.rows if row.gained is not None}
    if not gains or not any(row.has_moved for row in drift.rows):
        return ""
    names = list(gains)
    # Bonferroni: as many differences are looked at as there are stages.
    reach = NormalDist().inv_cdf(1 - SIGNIFICANCE / (2 * len(names)))
    higher = [name for name in names if gains[name].value > reach * gains[name].error]
    lower = [name for name in names if -gains[name].value > reach * gains[name].error]
    if not higher and not lower:
        return (
            f"A probe reads no more and no less from any stage than before, as far as {drift.num_images} images show."
        )
    said = []
    for found, verb in ((higher, "more"), (lower, "less")):
        if found:
            widest = max(found, key=lambda name: abs(gains[name].value))
            stages = _spans([names.index(name) for name in found], names)
            most = "" if len(found) == 1 else f"most from {widest}, "
            said.append(f"{verb} from {stages} ({most}{_size_words(drift.headline, gains[widest])})")
    return f"A probe reads {' and '.join(said)} than before; elsewhere no difference is shown."


def _holm(rows: Sequence[StageReset]) -> list[StageReset]:
    """The resets whose difference holds when each of them was tried (Holm 1979)."""
    ordered = sorted((row for row in rows if math.isfinite(row.p_value)), key=lambda row: row.p_value)
    shown = []
    for place, row in enumerate(ordered):
        if not _is_shown(row, len(ordered) - place):
            break
        shown.append(row)
    return shown


def _is_shown(row: StageReset, times: int) -> bool:
    """Whether its interval leaves out 0 and its p value, times the number of tests, is below 0.05."""
    leaves_out = row.cost.low > 0 or row.cost.high < 0
    return leaves_out and row.p_value * times < SIGNIFICANCE


def _spans(numbers: Sequence[int], names: Sequence[str]) -> str:
    """Stages in order: "block5", "stem and block0", "stem to block3 and block5"."""
    spans: list[list[int]] = []
    for number in sorted(numbers):
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    texts = []
    for first, last in spans:
        joint = " and " if last == first + 1 and len(spans) == 1 else " to "
        texts.append(names[first] if first == last else f"{names[first]}{joint}{names[last]}")
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} and {texts[-1]}"


def _change(value: float) -> str:
    percent = 100 * value
    return f"{percent:.0f}\u00a0%" if percent >= 10 else f"{percent:.2g}\u00a0%"


def _with_ends(metric: Metric, score: Estimate) -> str:
    if not math.isfinite(score.low):
        return metric.text(score.value)
    return f"{metric.text(score.value)} ({metric.text(score.low)} to {metric.text(score.high)})"


def _cost_words(table: ResetTable, cost: Estimate, *, is_size: bool = False) -> str:
    """A difference with its interval; `is_size`: its size, whichever way it goes."""
    if is_size:
        return _size_words(table.headline, cost)
    if table.headline is KAPPA:
        value, low, high = (round(one, 2) + 0.0 for one in (cost.value, cost.low, cost.high))  # + 0.0: never "-0.00"
        return f"a cost of {value:.2f} kappa ({low:.2f} to {high:.2f})"
    value, low, high = (round(100 * one, 1) + 0.0 for one in (cost.value, cost.low, cost.high))
    return f"a cost of {value:.1f} points ({low:.1f} to {high:.1f})"


def _size_words(metric: Metric, gap: Estimate) -> str:
    low, high = sorted((abs(gap.low), abs(gap.high)))
    if metric is KAPPA:
        return f"{abs(gap.value):.2f} kappa ({low:.2f} to {high:.2f})"
    return f"{100 * abs(gap.value):.1f} points of accuracy ({100 * low:.1f} to {100 * high:.1f})"
