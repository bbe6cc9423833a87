"""The curve of stages in words: only what its intervals bear out. Page and command print the same sentences."""

from collections.abc import Sequence

from lib.evaluation.metric_table import KAPPA
from lib.evaluation.resampling import Estimate
from lib.explain.stage_worth import PRETRAINED, RUN, StageWorth

_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")


def reading(worth: StageWorth) -> str:
    """What the curves say: the best stage, what lies behind it, what is borrowed, what a run changed."""
    parts = [peak(worth)]
    if not _is_chance(worth):
        parts += [_later_sentence(worth), _borrowed_sentence(worth)]
    return " ".join(filter(None, (*parts, _run_sentence(worth))))


def peak(worth: StageWorth) -> str:
    """Which stage is the best, or that none is better than chance: the first sentence of the reading."""
    return _chance_sentence(worth) if _is_chance(worth) else _best_sentence(worth)


def method(worth: StageWorth) -> str:
    """How the numbers came about, for the line under the curve."""
    units = "" if worth.num_units == worth.num_scored else f" of {worth.num_units:,} groups (patients), kept together"
    if worth.num_folds:
        how = (
            f"scored out of fold on all {worth.num_scored:,} images{units} ({worth.num_folds} folds, since the test "
            "part is small)"
        )
    else:
        how = f"fitted on {worth.num_fitted:,} images and scored on {worth.num_scored:,} test images{units}"
    against = "kappa 0" if worth.headline is KAPPA else f"accuracy {worth.headline.text(worth.chance)}"
    return " ".join(
        filter(
            None,
            (
                f"Each point: logistic regression on the pooled output of one stage, {how}; 95 % intervals.",
                f"Always answering {worth.commonest_class} gives {against}.",
                "The best stage was chosen on these very images, which flatters its own score a little.",
                worth.note,
                worth.split_caveat,
            ),
        )
    )


def stage_words(worth: StageWorth, number: int) -> str:
    """A stage by its place and title, such as "stage 5 of 9 (Inverted residual block 4)"."""
    return f"stage {number + 1} of {len(worth.rows)} ({worth.rows[number].title})"


def cut_sentence(worth: StageWorth, number: int) -> str:
    """What a cut behind a stage scores and trains."""
    row = worth.rows[number]
    score = row.score(worth.main)
    reached = f"{worth.headline.word} {score_words(worth, score)}" if score else "not measured"
    return (
        f"Cut behind {stage_words(worth, number)}: {reached}; a linear head there trains {row.head_parameters:,} "
        f"parameters, all to the right of the cut {row.right_parameters:,}."
    )


def score_words(worth: StageWorth, score: Estimate) -> str:
    """A score with its interval: "0.69 (0.61 to 0.76)"."""
    text = worth.headline.text
    return f"{text(score.value)} ({text(score.low)} to {text(score.high)})"


def gap_words(worth: StageWorth, gap: Estimate) -> str:
    """The size of a difference with its interval, whichever way it goes: "0.09 (0.02 to 0.15)"."""
    low, high = sorted((abs(gap.low), abs(gap.high)))
    if worth.headline is KAPPA:
        return f"{abs(gap.value):.2f} ({low:.2f} to {high:.2f})"
    return f"{100 * abs(gap.value):.1f} points ({100 * low:.1f} to {100 * high:.1f})"


def _sign(worth: StageWorth, gap: Estimate) -> int:
    """1 or -1 where a difference is shown, 0 where its interval, as it is printed, reaches 0."""
    least = 0.005 if worth.headline is KAPPA else 0.0005
    return int(gap.low >= least) - int(gap.high <= -least)


def _is_chance(worth: StageWorth) -> bool:
    return not any(score.low > worth.chance for row in worth.rows if (score := row.score(worth.main)) is not None)


def _chance_sentence(worth: StageWorth) -> str:
    top = worth.rows[worth.top].score(worth.main)
    assert top is not None  # noqa: S101 (the highest was measured)
    return (
        f"No stage is shown to do better than always answering {worth.commonest_class}: the highest is "
        f"{stage_words(worth, worth.top)} with {worth.headline.word} {score_words(worth, top)}."
    )


def _best_sentence(worth: StageWorth) -> str:
    row = worth.rows[worth.best]
    score = row.score(worth.main)
    assert score is not None  # noqa: S101 (chosen by its score)
    said = (
        f"For these images the best stage is {worth.best + 1} of {len(worth.rows)}, {row.title}: "
        f"{worth.headline.word} {score_words(worth, score)}."
    )
    if worth.best == worth.top:
        return said
    top = worth.rows[worth.top].score(worth.main)
    assert top is not None  # noqa: S101
    return (
        f"{said[:-1]}, the earliest within one standard error of the highest, stage {worth.top + 1} "
        f"({worth.headline.text(top.value)})."
    )


def _later_sentence(worth: StageWorth) -> str:
    """What is known of the stages behind the best one: those at the end that are shown to be lower, and the others."""
    later = [row.behind for row in worth.rows[worth.best + 1 :]]
    gaps = [gap for gap in later if gap is not None]
    if not gaps:
        return "No stage comes after it."
    lower = 0
    while lower < len(gaps) and _sign(worth, gaps[-1 - lower]) > 0:
        lower += 1
    if not lower:
        return "No difference from it is shown at the last stage."
    which, know, is_one = _last(lower), _knowledge(worth), lower == 1
    last = f"{'it' if is_one else 'the very last'} scores {gap_words(worth, gaps[-1])} less"
    verb = know if is_one else know.replace("knows", "know").replace("has", "have")
    others = "; between, no difference from the best is shown" if lower < len(gaps) else ""
    return f"{which} {verb}: {last}{others}."


def _last(number: int) -> str:
    return "The last stage" if number == 1 else f"The last {_words(number)} stages"


def _knowledge(worth: StageWorth) -> str:
    """What the last stages know instead of these classes, by what the network was trained on."""
    yours = "grades" if worth.is_ordinal else "classes"
    if worth.main == PRETRAINED:
        return f"knows {_possessive(worth.pretrained_on)} classes, not your {yours}"
    return f"has less to say of your {yours}"


def _possessive(name: str) -> str:
    return f"{name}'" if name.endswith("s") else f"{name}'s"


def _borrowed_sentence(worth: StageWorth) -> str:
    gap, random = worth.rows[worth.best].borrowed, worth.rows[worth.best].random
    if gap is None or random is None or worth.main != PRETRAINED:
        return ""
    reached = f"the same network with random weights reaches {worth.headline.text(random.value)} there"
    if not _sign(worth, gap):
        return f"Borrowed: nothing is shown, since {reached} and no difference is shown."
    if gap.value < 0:
        return f"Borrowed: nothing, since {reached}, {gap_words(worth, gap)} more."
    return f"Borrowed: {gap_words(worth, gap)}, since {reached}."


def _run_sentence(worth: StageWorth) -> str:
    """Where the run's stages are worth more or less than those it started from."""
    if RUN not in worth.curves:
        return ""
    if worth.main == RUN:
        return ""
    gains = {number: row.gained for number, row in enumerate(worth.rows) if row.gained is not None}
    higher = [number for number, gap in gains.items() if _sign(worth, gap) > 0]
    lower = [number for number, gap in gains.items() if _sign(worth, gap) < 0]
    if not higher and not lower:
        return f"The run ({worth.run_label}): no difference from the pretrained network is shown at any stage."
    said = []
    for numbers, word in ((higher, "raised"), (lower, "lowered")):
        if numbers:
            widest = max(numbers, key=lambda number: abs(gains[number].value))
            most = "" if len(numbers) == 1 else f", most at stage {widest + 1}"
            said.append(f"{word} {_stage_list(numbers)}{most} by {gap_words(worth, gains[widest])}")
    return f"The run ({worth.run_label}) {' and '.join(said)}; no difference is shown elsewhere."


def _stage_list(numbers: Sequence[int]) -> str:
    """Stages as a person counts them: "stage 4", "stages 3 and 4", "stages 3 to 6 and 9"."""
    spans: list[list[int]] = []
    for number in numbers:
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    texts = [f"{a + 1}" if a == b else f"{a + 1} {'and' if b == a + 1 else 'to'} {b + 1}" for a, b in spans]
    listed = texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} and {texts[-1]}"
    return f"stage{'' if len(numbers) == 1 else 's'} {listed}"


def _words(number: int) -> str:
    return _NUMBERS[number] if number < len(_NUMBERS) else str(number)
