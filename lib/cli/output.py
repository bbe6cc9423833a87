"""What commands print: JSON and tables on standard output, progress on standard error."""

import json
import math
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

import click

from lib.errors import UserError
from lib.jobs.event_text import describe_event
from lib.progress import InBytes, size_words

if TYPE_CHECKING:
    from lib.evaluation.headline import Score

Function = TypeVar("Function", bound=Callable[..., Any])

_SPARSE_S = 5.0  # between progress lines that go to a file
_QUIET_S = 2.0  # before the first of them: what is quick says nothing


def json_option(function: Function) -> Function:
    """Add `--json`: one JSON object on one line as the last line of standard output."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON object on one line.")(function)


def print_json(content: Mapping[str, Any]) -> None:
    """Print one JSON object on one line; what JSON cannot hold (NaN, infinity) becomes null."""
    click.echo(json.dumps(_plain(content), ensure_ascii=False, default=str))


def answer(content: Mapping[str, Any], sentence: str, *, as_json: bool) -> None:
    """Print one JSON object on one line, or what it says as a sentence."""
    if as_json:
        print_json(content)
    else:
        click.echo(sentence)


def print_table(rows: Iterable[Sequence[Any]], headings: Sequence[str]) -> None:
    """Print aligned columns."""
    cells = [tuple(headings), *(tuple(_cell(value) for value in row) for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(headings))]
    for row in cells:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def print_facts(facts: Mapping[str, Any]) -> None:
    """Print one "key  value" line a fact."""
    width = max((len(key) for key in facts), default=0)
    for key, value in facts.items():
        click.echo(f"{key.ljust(width)}  {_cell(value)}".rstrip())


def print_score(score: "Score | None", before: str = "") -> None:
    """Print a result in a line: what it is judged by, and what stands beside it; nothing without one."""
    if score is not None:
        click.echo(" ".join(f"{before}{score.words}; n = {score.num}.".split()))


def note(text: str) -> None:
    """Print a line for the person, not for a program: on standard error."""
    click.echo(text, err=True)


def note_split_caveat(dataset_name: str) -> None:
    """Say for the person what every score of a data set of the library must say of its split, if there is something."""
    from lib.data.library import list_datasets

    for summary in list_datasets():
        if summary.name == dataset_name and summary.split_caveat:
            note(summary.split_caveat)


def check_folder(out: Path) -> None:
    """Raise UserError where the folder of a file to write is not there."""
    if not out.resolve().parent.is_dir():
        raise UserError(f"The folder {out.resolve().parent} does not exist; make it, or write somewhere else.")


class ProgressLine:
    """Shows progress on standard error: one line that is rewritten in a terminal, now and then a line elsewhere.

    Call it as a `lib.progress.Progress`, or give it training events by `listen`.
    """

    def __init__(self) -> None:
        self._is_terminal = sys.stderr.isatty()
        self._is_shown = False
        self._next_s = time.monotonic() + (0.2 if self._is_terminal else _QUIET_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._clear()

    def __call__(self, done: int, total: int, what: str) -> None:
        """Report `done` of `total`."""
        said = what[:1].upper() + what[1:]
        numbers = f"{done}/{total}" if not isinstance(what, InBytes) else f"{size_words(done)} of {size_words(total)}"
        self._show(f"{said} {numbers}" if total else said)

    def listen(self, event: Any) -> None:
        """Report a training event: epochs and notices always, the rest as progress."""
        line = describe_event(event)
        if type(event).__name__ in ("EpochEnded", "Noticed"):
            self._clear()
            note(line)
        elif line:
            self._show(line)

    def _show(self, line: str) -> None:
        now = time.monotonic()
        if now < self._next_s:
            return
        self._next_s = now + (0.1 if self._is_terminal else _SPARSE_S)
        if self._is_terminal:
            sys.stderr.write(f"\r\x1b[2K{line[:118]}")
            sys.stderr.flush()
            self._is_shown = True
        else:
            note(line)

    def _clear(self) -> None:
        if self._is_shown:
            sys.stderr.write("\r\x1b[2K")
            sys.stderr.flush()
            self._is_shown = False


def describe_time(seconds: float | None) -> str:
    """A point in time as local date and time."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds)) if seconds else ""


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return _number(value)
    return " ".join(str(value).split())


def _number(value: float) -> str:
    """Shares with three decimals, whole numbers as such, anything else with four digits."""
    if value.is_integer() and abs(value) > 1:
        return f"{value:.0f}"
    return f"{value:.3f}" if value == 0 or 0.001 <= abs(value) <= 1 else f"{value:.4g}"


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(entry) for entry in value]
    if hasattr(value, "item") and callable(value.item) and getattr(value, "ndim", 0) == 0:
        value = value.item()  # numbers of numpy and torch
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
