"""What of a network's answer is explained: a class, a difference of two, or a grade; the one number that a map is of.

Imports no torch: pages read the link's words before a network is there.
"""

import difflib
import operator
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, SupportsIndex

from lib.errors import UserError
from lib.evaluation.verdict import Verdict

if TYPE_CHECKING:
    from torch import Tensor

PREDICTED, TRUE, CLASS, DIFFERENCE = "predicted", "true", "class", "difference"
EXPECTED, AT_OR_ABOVE = "expected", "at_or_above"
_MINUS = re.compile(r"\s[-\u2013\u2212]\s")  # hyphen, en dash, minus sign
_AT_OR_ABOVE = re.compile(r"(?:>=|\u2265)\s*(.+)", re.S)


@dataclass(frozen=True)
class Target:
    """What is explained; see `score` for the number that each kind is.

    `index` is the class, the first class of a difference, or the grade of "at or above"; `other` the second class of a
    difference. `limits` are the K - 1 fitted limits of the expected grade, where a run decides by them: "at or above
    grade k" then means that the expected grade has passed the limit to k, as the verdict does.
    """

    kind: str = PREDICTED
    index: int = 0
    other: int = 0
    limits: tuple[float, ...] = ()

    @property
    def is_open(self) -> bool:
        """Whether it depends on the image: the predicted or the true class."""
        return self.kind in (PREDICTED, TRUE)

    @property
    def is_linear(self) -> bool:
        """Whether the number is a sum of logits; grades are sums of probabilities."""
        return self.kind in (CLASS, DIFFERENCE)

    def score(self, logits: "Tensor") -> "Tensor":
        """The explained number (N,) of logits (N, K).

        A class: its logit. A difference: the one logit less the other. The expected grade: the sum of k times the
        probability of k. At or above k: the sum of those probabilities, or, with limits, how far the expected grade
        lies above the limit to k.
        """
        import torch

        if self.kind == CLASS:
            return logits[:, self.index]
        if self.kind == DIFFERENCE:
            return logits[:, self.index] - logits[:, self.other]
        # In double precision: a network that is sure would otherwise have a gradient of exactly zero.
        wide = logits.float() if logits.device.type == "mps" else logits.double()
        probabilities = wide.softmax(dim=1)
        if self.kind == AT_OR_ABOVE and not self.limits:
            return probabilities[:, self.index :].sum(dim=1)
        grades = torch.arange(logits.shape[1], device=logits.device, dtype=probabilities.dtype)
        expected = (probabilities * grades).sum(dim=1)
        return expected - self.limits[self.index - 1] if self.kind == AT_OR_ABOVE else expected

    def checked(self, num_classes: int) -> "Target":
        """The same target; raises UserError if a network of `num_classes` has no such class or grade."""
        if self.is_open or self.kind == EXPECTED:
            return self
        for index in (self.index, self.other) if self.kind == DIFFERENCE else (self.index,):
            if not 0 <= index < num_classes:
                raise UserError(f"There is no class number {index}: this network has classes 0 to {num_classes - 1}.")
        if self.kind == DIFFERENCE and self.index == self.other:
            raise UserError(f"The difference of class {self.index} to itself is zero; name two classes.")
        if self.kind == AT_OR_ABOVE and self.index == 0:
            raise UserError("Every image is at grade 0 or above; ask for grade 1 or a later one.")
        return self

    def closed(self, predicted: int, *, verdict: Verdict | None = None, true_class: int | None = None) -> "Target":
        """The target for one image, of which the network's most probable class is `predicted`.

        A `verdict` gives its own class and, where it decides by the expected grade, its limits.

        Raises:
            UserError: the image is turned away, so that no class is predicted; its true class is not known.
        """
        if self.kind == TRUE:
            if true_class is None:
                raise UserError("The true class of this image is not known; choose another target.")
            return Target(CLASS, true_class)
        if self.kind == PREDICTED:
            if verdict is not None and verdict.target is None:
                raise UserError(f"{verdict.reason} No class is given; name a class to see its map.".strip())
            return Target(CLASS, predicted if verdict is None or verdict.target is None else verdict.target)
        limits = verdict.limits if verdict is not None else ()
        return replace(self, limits=limits) if limits and not self.is_linear else self

    def describe(self, class_names: Sequence[str]) -> str:
        """In words: 'class "Severe"', 'class "Severe" against "Mild"', "expected grade"."""
        if self.kind == CLASS:
            return f'class "{class_names[self.index]}"'
        if self.kind == DIFFERENCE:
            return f'class "{class_names[self.index]}" against "{class_names[self.other]}"'
        if self.kind == EXPECTED:
            return "expected grade"
        if self.kind == AT_OR_ABOVE and self.limits:
            limit = self.limits[self.index - 1]
            return f'expected grade above the limit to "{class_names[self.index]}" ({limit:.2f})'
        if self.kind == AT_OR_ABOVE:
            return f'probability of "{class_names[self.index]}" or above'
        return "predicted class" if self.kind == PREDICTED else "true class"

    def to_text(self) -> str:
        """As `parse_target` reads it; classes by number, since names may occur twice."""
        return {
            CLASS: f"{self.index}",
            DIFFERENCE: f"{self.index} - {self.other}",
            AT_OR_ABOVE: f">={self.index}",
        }.get(self.kind, self.kind)


TargetLike = Target | str | SupportsIndex | None


def as_target(value: TargetLike, class_names: Sequence[str] = (), *, is_ordinal: bool | None = None) -> Target:
    """A target, a class number of any integer type, words as `parse_target` reads them, or None for the prediction."""
    if value is None:
        return Target()
    if isinstance(value, Target):
        return value
    if isinstance(value, str):
        return parse_target(value, class_names, is_ordinal=is_ordinal)
    return Target(CLASS, operator.index(value))


def parse_target(text: str, class_names: Sequence[str], *, is_ordinal: bool | None = None) -> Target:
    """Read "Severe" or "4", "Severe - Mild", "expected", ">=2" or ">=Severe", "predicted", "true".

    A class of that very name goes first. `is_ordinal` False says that the classes have no order, so no grades.

    Raises:
        UserError: no such class, with the nearest name; a grade where the classes have no order.
    """
    asked = text.strip()
    if asked in class_names:
        return Target(CLASS, find_class(asked, class_names))
    if asked.casefold() in (PREDICTED, TRUE):
        return Target(asked.casefold())
    at_or_above = _AT_OR_ABOVE.fullmatch(asked)
    if asked.casefold() == EXPECTED or at_or_above:
        if is_ordinal is False:
            raise UserError("The classes of this network have no order, so there is no expected grade; name a class.")
        if at_or_above is None:
            return Target(EXPECTED)
        return Target(AT_OR_ABOVE, find_class(at_or_above[1].strip(), class_names)).checked(len(class_names))
    for minus in _MINUS.finditer(asked):
        parts = asked[: minus.start()].strip(), asked[minus.end() :].strip()
        try:
            first, second = (find_class(part, class_names) for part in parts)
        except UserError:
            continue  # the names themselves may hold a dash
        return Target(DIFFERENCE, first, second).checked(len(class_names))
    return Target(CLASS, find_class(asked, class_names))


def find_class(name: str, class_names: Sequence[str]) -> int:
    """The number of a class by its name, in whatever case, or by its number as text.

    Raises:
        UserError: no such class; the nearest name is suggested.
    """
    if name in class_names:
        return list(class_names).index(name)
    folded = {known.casefold(): index for index, known in reversed(list(enumerate(class_names)))}
    if name.casefold() in folded:
        return folded[name.casefold()]
    if not name.isdigit():
        near = difflib.get_close_matches(name.casefold(), folded, n=1)
        hint = f" Did you mean {class_names[folded[near[0]]]!r}?" if near else ""
        raise UserError(f"There is no class {name!r} among the {len(class_names)} classes.{hint}")
    if int(name) >= len(class_names):
        raise UserError(f"There is no class number {name}: choose 0 to {len(class_names) - 1}, or a class name.")
    return int(name)


def closed_targets(
    target: TargetLike | Sequence[Any],
    logits: "Tensor",
    *,
    verdicts: Sequence[Verdict] | None = None,
    true_classes: Sequence[int | None] | None = None,
) -> tuple[Target, ...]:
    """One target for each image of logits (N, K), from one for all or one for each.

    Raises:
        UserError: no such class.
        ValueError: another number of targets than images.
    """
    num_images, num_classes = logits.shape
    is_many = hasattr(target, "__len__") and not isinstance(target, str) and getattr(target, "ndim", 1) > 0
    given: Sequence[Any] = target if is_many else [target] * num_images  # type: ignore[assignment]
    asked = [as_target(one) for one in given]
    if len(asked) != num_images:
        raise ValueError(f"{num_images} images need {num_images} target classes, received {len(asked)}.")
    predicted = logits.detach().argmax(dim=1).tolist()
    return tuple(
        one.closed(
            int(predicted[row]),
            verdict=verdicts[row] if verdicts is not None else None,
            true_class=true_classes[row] if true_classes is not None else None,
        ).checked(num_classes)
        for row, one in enumerate(asked)
    )


def target_scores(targets: Sequence[Target], logits: "Tensor") -> "Tensor":
    """The explained numbers (R,) of logits (R, K), in which the N images of `targets` are repeated, R = r N."""
    import torch

    if len(set(targets)) == 1:
        return targets[0].score(logits)
    scores = [targets[row % len(targets)].score(logits[row : row + 1]) for row in range(len(logits))]
    return torch.cat([score.to(logits.dtype) for score in scores])
