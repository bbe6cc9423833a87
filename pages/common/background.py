"""Work of a minute that outlives a rerun: one thread per named task in this server, watched by any number of tabs.

For imports and the first data set. Training has a process of its own (lib.jobs) and outlives the server too.
"""

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import streamlit as st

from lib.atomic import read_kept
from lib.errors import Stopped, UserError, disk_fault
from lib.jobs.processes import run_child_command
from lib.progress import Progress, amount_words, duration
from pages.common.text import plain, plain_message

_logger = logging.getLogger("transferscope.pages")
_tasks: dict[str, "Task"] = {}
_lock = threading.Lock()
_POLL_S = 0.5
_CONTEXT_LOGGER = "streamlit.runtime.scriptrunner_utils.script_run_context"


def _is_of_a_page(_record: logging.LogRecord) -> bool:
    """Tasks have no page on purpose: what they load through a cache of Streamlit need not warn of that."""
    return not threading.current_thread().name.startswith("task ")


logging.getLogger(_CONTEXT_LOGGER).addFilter(_is_of_a_page)


@dataclass
class Task:
    """A task and how far it is; `stopped` and `error` are sentences for the person."""

    name: str
    title: str
    done: int = 0
    total: int = 0
    what: str = ""
    stopped: str = "Stopped; nothing was kept."
    result: Any = None
    error: str = ""
    is_over: bool = False
    begun: tuple[str, int, float] = ("", 0, 0.0)  # the present step, what was done when it began, and when that was
    stop: threading.Event = field(default_factory=threading.Event)

    def report(self, done: int, total: int, what: str) -> None:
        """The listener that the work calls (lib.progress); raises Stopped after somebody asked for it."""
        if what != self.begun[0]:
            self.begun = what, done, time.monotonic()
        self.done, self.total, self.what = done, total, what
        if self.stop.is_set():
            raise Stopped

    @property
    def seconds_left(self) -> float:
        """An estimate from the pace of the present step, part of which an earlier try may have done; NaN before."""
        elapsed, done = time.monotonic() - self.begun[2], self.done - self.begun[1]
        return elapsed * (self.total - self.done) / done if done > 0 and elapsed > 1 else float("nan")


def start(name: str, title: str, work: Callable[[Progress], Any], *, stopped: str = Task.stopped) -> Task:
    """Start the work, or return the task of that name that is running already (two tabs, a second click).

    `stopped` says after Stop what is left of it.
    """
    with _lock:
        running = _tasks.get(name)
        if running is not None and not running.is_over:
            return running
        task = _tasks[name] = Task(name, title, stopped=stopped)
    threading.Thread(target=_work, args=(task, work), name=f"task {name}", daemon=True).start()
    return task


def find(name: str) -> Task | None:
    """The running or last task of that name."""
    return _tasks.get(name)


def forget(name: str) -> None:
    """Drop a task that is over, after its result has been shown."""
    with _lock:
        task = _tasks.get(name)
        if task is not None and task.is_over:
            del _tasks[name]


def _work(task: Task, work: Callable[[Progress], Any]) -> None:
    try:
        task.result = work(task.report)
    except Stopped as stopped:
        task.error = str(stopped) or task.stopped
    except UserError as error:
        task.error = str(error)
    except Exception as error:
        _logger.exception("the task %s failed", task.name)
        fault = disk_fault(error)
        task.error = str(fault) if fault else "Something unexpected happened; the server's log has the details."
    finally:
        task.is_over = True


def watch(name: str) -> None:
    """Show a running task with its progress and a stop button; reruns the page when the task is over."""
    task = find(name)
    if task is not None and not task.is_over:
        _watch(name)


@st.fragment(run_every=_POLL_S)
def _watch(name: str) -> None:
    task = find(name)
    if task is None or task.is_over:
        st.rerun(scope="app")
        return
    with st.container(border=True):
        st.markdown(f"**{plain(task.title)}**")
        share = min(1.0, task.done / task.total) if task.total else 0.0
        steps = (
            f"{plain(task.what)} · {amount_words(task.done, task.what)} of {amount_words(task.total, task.what)}"
            if task.total
            else plain(task.what or "starting")
        )
        left = "" if task.seconds_left != task.seconds_left else f" · about {duration(task.seconds_left)} left"
        st.progress(share, text=steps + left)
        if st.button("Stop", key=f"stop_{name}", icon=":material/stop_circle:", disabled=task.stop.is_set()):
            task.stop.set()


def show_outcome(name: str, success: str) -> None:
    """After a task: its sentence, good or bad, once."""
    task = find(name)
    if task is None or not task.is_over:
        return
    if task.error:
        st.error(plain_message(task.error), icon=":material/error:")
    else:
        st.success(success, icon=":material/check_circle:")
    forget(name)


Measured = TypeVar("Measured")


def start_measurement(name: str, title: str, arguments: list[str]) -> None:
    """Run a command of `python -m lib` as the task of that name, unless it runs already."""

    def work(progress: Progress) -> dict[str, Any]:
        return run_child_command(arguments, progress)

    start(name, title, work)


def is_measuring(name: str) -> bool:
    """Whether the task is at work."""
    task = find(name)
    return task is not None and not task.is_over


def show_measurement_failure(name: str) -> None:
    """After the task: the sentence that says what went wrong, once; nothing where all went well."""
    task = find(name)
    if task is None or not task.is_over:
        return
    if task.error:
        st.error(plain_message(task.error), icon=":material/error:")
    forget(name)


def kept_measurement(path: Path, parse: Callable[[dict[str, Any]], Measured]) -> Measured | None:
    """What was measured before and is kept in a JSON file, read once for each state of it; None if unreadable."""
    try:
        moment = path.stat().st_mtime_ns
    except OSError:
        return None
    found: Measured | None = _kept(str(path), moment, parse)
    return found


@st.cache_resource(max_entries=64, show_spinner=False)
def _kept(path: str, moment: int, _parse: Callable[[dict[str, Any]], Any]) -> Any:
    return read_kept(Path(path), _parse)


class Recent(Generic[Measured]):
    """The last results of all sessions, by what was asked; not copied, so never to be changed."""

    def __init__(self, most: int) -> None:
        self._results: OrderedDict[Hashable, Measured] = OrderedDict()
        self._most, self._lock = most, threading.Lock()

    def get(self, key: Hashable) -> Measured | None:
        """The result, None where it is not (any more) there."""
        with self._lock:
            return self._results.get(key)

    def put(self, key: Hashable, result: Measured) -> Measured:
        """Keep a result and let the oldest go; returns it."""
        with self._lock:
            self._results[key] = result
            while len(self._results) > self._most:
                self._results.popitem(last=False)
        return result
