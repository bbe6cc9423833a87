"""Names that people gave (classes, files, runs) shown literally, whatever markup they hold."""

import math
import re
from collections.abc import Sequence

MAX_CHARACTERS = 160
# CommonMark: a backslash before any ASCII punctuation makes it literal.
_PUNCTUATION = re.compile(r"([!-/:-@\[-`{-~])")
# Streamlit turns `:icon:`, `:red[...]` and links into markup after parsing, where backslashes are gone already; an
# invisible word joiner (U+2060) keeps those patterns from matching.
_LATE_MARKUP = re.compile(r":(?=\S)|\bwww(?=\.)|@(?=\S)", re.IGNORECASE)
# Control characters, and those that reverse the direction of the text around them.
_INVISIBLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]+")


def plain(text: object, max_characters: int = MAX_CHARACTERS) -> str:
    """Escape a name for every Streamlit element that reads Markdown (labels, captions, messages, tooltips)."""
    kept = readable(text, max_characters)
    return _PUNCTUATION.sub(r"\\\1", _LATE_MARKUP.sub(lambda found: f"{found.group()}\u2060", kept))


def readable(text: object, max_characters: int = MAX_CHARACTERS) -> str:
    """One short line without control characters, for places that show text literally (tables, options, figures)."""
    line = _INVISIBLE.sub(" ", str(text)).strip()
    return line if len(line) <= max_characters else f"{line[: max_characters - 1]}…"


def plain_message(error: object) -> str:
    """Escape a whole message, such as an error's sentence with a path in it."""
    return plain(error, max_characters=1200)


def percent(fraction: float, digits: int = 1) -> str:
    """A fraction as per cent for sentences; "not defined" for NaN."""
    return "not defined" if math.isnan(fraction) else f"{100 * fraction:.{digits}f}\u00a0%"


def count(number: int, noun: str, plural: str = "") -> str:
    """A number with its noun: "1 image", "1,200 images"."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def joined(names: Sequence[str]) -> str:
    """Names in a sentence: "a", "a and b", "a, b and c"."""
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))
