"""Measurements of a form's training, each in a process of its own that a named task of this server waits for."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import streamlit as st

from lib.atomic import read_json
from lib.jobs.processes import run_child_command
from lib.progress import Progress
from pages.common import background
from pages.common.text import plain_message

Measured = TypeVar("Measured")


def start(name: str, title: str, arguments: list[str]) -> None:
    """Run a command of `python -m lib` as the task of that name, unless it runs already."""

    def work(progress: Progress) -> dict[str, Any]:
        return run_child_command(arguments, progress)

    background.start(name, title, work)


def is_running(name: str) -> bool:
    """Whether the task is at work."""
    task = background.find(name)
    return task is not None and not task.is_over


def show_failure(name: str) -> None:
    """After the task: the sentence that says what went wrong, once; nothing where all went well."""
    task = background.find(name)
    if task is None or not task.is_over:
        return
    if task.error:
        st.error(plain_message(task.error), icon=":material/error:")
    background.forget(name)


def kept(path: Path, parse: Callable[[dict[str, Any]], Measured]) -> Measured | None:
    """What was measured before and is kept in a JSON file; None where there is none that can be read."""
    try:
        return parse(read_json(path))
    except (OSError, ValueError, TypeError, KeyError):
        return None
