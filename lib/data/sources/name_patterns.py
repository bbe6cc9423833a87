"""Reads classes from the names of files: `{class}.{number}` for cat.123.jpg, `{class}_{number}` for Abyssinian_12.jpg.

In a pattern `{class}` stands for the class, `{number}` for digits and `*` for anything; the rest stands for itself. It
is compared with the whole name without its suffix; one with a "/" also with as many folders above.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from lib.data.images import FORMATS_TEXT
from lib.data.sources.class_folders import Layout, OnlyOneClass, split_base, split_in
from lib.data.sources.files import (
    FolderWalk,
    FoundFile,
    LeftOut,
    distinct_names,
    has_image_suffix,
    normal,
    one_spelling,
    shown,
)
from lib.errors import UserError

_WILD = {"{class}": "(?P<label>.+?)", "{number}": r"\d+", "*": ".*"}
_MAX_WILD = 4  # each makes the comparison with a long name slower
_SEPARATORS = (".", "_", "-", " ")
_EYES = frozenset(("left", "right", "l", "r", "os", "od"))
_MAX_EXAMPLES = 4
_LEAST_SHARE, _MAX_CLASSES, _NUM_SAMPLED = 0.9, 1_000, 2_000


@dataclass(frozen=True)
class NamePattern:
    """A pattern and what it makes of a folder's names: images of each class by its name, and names that do not fit."""

    pattern: str
    counts: dict[str, int]
    unmatched: tuple[str, ...] = ()
    num_unmatched: int = 0
    examples: dict[str, str] = field(default_factory=dict)  # class to a name of it

    @property
    def words(self) -> str:
        """Classes and counts in a sentence's part."""
        listed = [f"{name} ({count:,})" for name, count in list(self.counts.items())[:5]]
        more = f" and {len(self.counts) - 5:,} more" if len(self.counts) > 5 else ""
        return ", ".join(listed) + more


def compile_pattern(pattern: str) -> re.Pattern[str]:
    """A pattern as an expression; raises UserError where it has not exactly one {class}, or is too long."""
    pieces = re.split(r"(\{class\}|\{number\}|\*)", normal(pattern.strip()))
    wild = [piece for piece in pieces if piece in _WILD]
    if wild.count("{class}") != 1 or any("{" in piece or "}" in piece for piece in pieces if piece not in _WILD):
        raise UserError(
            f"The pattern {shown(pattern)!r} must have {{class}} once, and of signs in braces only {{class}} and "
            "{number}, such as {class}_{number} for Abyssinian_12.jpg."
        )
    if len(wild) > _MAX_WILD or len(pattern) > 200:
        raise UserError(
            f"The pattern {shown(pattern)[:60]!r} is too long; at most {_MAX_WILD} signs may stand for others."
        )
    return re.compile("".join(_WILD.get(piece) or re.escape(piece) for piece in pieces), re.DOTALL)


def class_in_name(expression: re.Pattern[str], file: FoundFile, num_folders: int) -> str | None:
    """The class that a name says, None where it does not fit."""
    name = normal("/".join(file.parts[-1 - num_folders :]))
    if has_image_suffix(name):
        name = name.rpartition(".")[0]
    found = expression.fullmatch(name)
    return found["label"].strip(" ._-/") or None if found else None


def try_pattern(pattern: str, images: Sequence[FoundFile]) -> NamePattern:
    """What a pattern makes of names; raises UserError where it is none."""
    expression, num_folders = compile_pattern(pattern), pattern.count("/")
    counts: Counter[str] = Counter()
    examples: dict[str, str] = {}
    unmatched: list[str] = []
    num_unmatched = 0
    for file in images:
        label = class_in_name(expression, file, num_folders)
        if label is not None:
            counts[label] += 1
            examples.setdefault(label, file.relative)
            continue
        num_unmatched += 1
        if len(unmatched) < _MAX_EXAMPLES:
            unmatched.append(file.relative)
    spelled = one_spelling(counts)
    names = distinct_names(spelled.values())
    totals: Counter[str] = Counter()
    for label, taken in spelled.items():
        totals[names[taken]] += counts[label]
    shown_examples = {name: examples[label] for label, name in names.items()}
    return NamePattern(pattern, dict(totals), tuple(unmatched), num_unmatched, shown_examples)


def suggest_patterns(images: Sequence[FoundFile]) -> list[NamePattern]:
    """Patterns by which nearly all names give classes of several images, the likeliest first; none where none does."""
    found: dict[tuple[tuple[str, int], ...], NamePattern] = {}
    sample = images[:: max(1, len(images) // _NUM_SAMPLED)]  # twenty patterns on each of many names take seconds
    for candidate in _candidates():
        if not _is_likely(try_pattern(candidate, sample), len(sample)):
            continue
        tried = try_pattern(candidate, images)
        if _is_likely(tried, len(images)):
            found.setdefault(tuple(sorted(tried.counts.items())), tried)  # the first of those that say the same
    return sorted(found.values(), key=lambda one: (one.num_unmatched, len(one.counts)))


def _candidates() -> list[str]:
    apart = [
        pattern for sign in _SEPARATORS for pattern in (f"{{class}}{sign}{{number}}", f"{{number}}{sign}{{class}}")
    ]
    loose = [pattern for sign in _SEPARATORS for pattern in (f"{{class}}{sign}*", f"{{number}}{sign}{{class}}{sign}*")]
    return [*apart, "{class}{number}", *loose]


def _is_likely(tried: NamePattern, num_images: int) -> bool:
    num_matched, classes = num_images - tried.num_unmatched, tried.counts
    if not 2 <= len(classes) <= min(_MAX_CLASSES, num_matched // 2) or num_matched < _LEAST_SHARE * num_images:
        return False
    if min(classes.values()) < 2 or {name.casefold() for name in classes} <= _EYES:
        return False  # both eyes of a patient are no classes
    return not all(re.fullmatch(r"[\d\W_]+", name) for name in classes)


def read_names(walk: FolderWalk, images: list[FoundFile], pattern: str, *, min_classes: int = 2) -> Layout:
    """The classes that a pattern gives; names that do not fit are left out.

    Raises UserError where the pattern is none, fits no name, or gives fewer than `min_classes` classes.
    """
    expression, num_folders, base = compile_pattern(pattern), pattern.count("/"), split_base(images)
    if not images:
        raise UserError(f"{shown(walk.root)} holds no images ({FORMATS_TEXT}).")
    labels = {file.path: class_in_name(expression, file, num_folders) for file in images}
    fitting = [file for file in images if labels[file.path] is not None]
    if not fitting:
        raise UserError(
            f"No name in {shown(walk.root)} fits the pattern {shown(pattern)!r} (such as {images[0].relative}); "
            "{class} stands for the class, {number} for digits, * for anything."
        )
    layout = Layout(notices=[f"Classes from the names of the files, by the pattern {shown(pattern)}."])
    names = layout.class_names_of(label for label in labels.values() if label is not None)
    layout.left_out = [
        LeftOut(file.relative, f"its name does not fit the pattern {shown(pattern)}")
        for file in images if labels[file.path] is None
    ]  # fmt: skip
    in_train = any(split_in(file, base) == "train" for file in fitting)
    for file in fitting:
        layout.entries.append(file.entry(names[str(labels[file.path])], split_in(file, base) if in_train else ""))
    if len(names) < min_classes:
        raise OnlyOneClass(
            f"The pattern {shown(pattern)!r} gives only one class, {next(iter(names.values()))!r}; at least two "
            "are needed."
        )
    return layout
