"""`python -m tests.benchmarks.board [RUNS ...]`: how long "Compare runs" takes with 200 and 2,000 generated runs.

From the start of the script to the table's data, and to the end of the script with the verdict of two runs. A first
visit finds nothing in the caches of the process, another session finds what that one left; each rerun changes the
order, the search or the selection. Figures of finished runs are in the table of summaries, as they are from a minute
after a run's end; what it takes to work them out is printed too.
"""

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

_RERUNS = 40
_WORKED_OUT = 5


def main(numbers: tuple[int, ...] = (200, 2000)) -> None:
    """Print the times for so many runs, each in a home of its own."""
    for number in numbers:
        with tempfile.TemporaryDirectory() as folder:
            os.environ["TRANSFERSCOPE_HOME"] = folder
            bench_board(number)


def bench_board(number: int) -> None:
    """Make the runs and their summaries, and open the page again and again."""
    import streamlit as st
    from streamlit.testing.v1 import AppTest

    from lib.demo import recording
    from lib.settings import PROJECT_ROOT
    from tests.generated_runs import make_generated_runs

    recording.FOLDER = Path(os.environ["TRANSFERSCOPE_HOME"]) / "no_demo"  # the page would unpack it
    made = make_generated_runs(number)
    print(f"{number:,} runs: {_summarise(made):.2f} s to work out the figures of one", flush=True)
    clock = _Clock()

    def open_page(**view: str) -> Any:
        at = AppTest.from_file(str(PROJECT_ROOT / "app.py"), default_timeout=120).run()
        for key, value in view.items():
            at.query_params[key] = value
        clock.start()
        at.switch_page("pages/compare_runs.py").run()
        return at

    open_page()  # imports
    times: dict[str, list[tuple[float, float]]] = {"first visit, nothing cached": [], "first visit of a session": []}
    at: Any = None
    for name, forget in (("first visit, nothing cached", True), ("first visit of a session", False)):
        for _ in range(5):
            if forget:
                st.cache_data.clear()
                st.cache_resource.clear()
            at = open_page()
            assert not at.exception, at.exception
            times[name].append(clock.times)
    reruns: list[tuple[float, float]] = []
    for turn in range(_RERUNS):
        _change(at, turn, made)
        clock.start()
        at.run()
        reruns.append(clock.times)
    assert not at.exception, at.exception
    assert not at.error, at.error
    for name, seconds in {**times, "rerun": reruns}.items():
        _report(name, seconds)


def _change(at: Any, turn: int, made: list[str]) -> None:
    """What a person does next: another order, a word to search for, other runs."""
    changes: tuple[Callable[[], Any], ...] = (
        lambda: at.session_state.__setitem__("view_sort", "-test_accuracy" if turn % 8 else "seconds_total"),
        lambda: at.session_state.__setitem__("view_search", "probe" if turn % 8 > 3 else ""),
        lambda: at.session_state.__setitem__("view_runs", ",".join(made[turn % 5 : turn % 5 + 2])),
        lambda: None,
    )
    changes[turn % len(changes)]()


class _Clock:
    """When the script began, when the table had its data, and when the script was over."""

    def __init__(self) -> None:
        from pages.common import clicks, controls, state

        self._marks: dict[str, float] = {}
        self._follow(state, "sync_from_url", "start", is_before=True)
        self._follow(controls, "show_table", "table")
        self._follow(clicks, "end_of_run", "end")

    def _follow(self, module: Any, name: str, mark: str, *, is_before: bool = False) -> None:
        own = getattr(module, name)

        def call(*arguments: Any, **options: Any) -> Any:
            if is_before:
                self._marks = {mark: time.perf_counter()}
            found = own(*arguments, **options)
            self._marks.setdefault(mark, time.perf_counter())
            return found

        setattr(module, name, call)

    def start(self) -> None:
        """Forget the last run."""
        self._marks = {}

    @property
    def times(self) -> tuple[float, float]:
        """Seconds from the start of the last run to the table's data, and to its end."""
        return self._marks["table"] - self._marks["start"], self._marks["end"] - self._marks["start"]


def _summarise(made: list[str]) -> float:
    """Fill the table of summaries; of most runs with figures as large as real ones. Returns seconds for a real one."""
    from lib.board.rows import describe_run, made_of, summarise_run
    from lib.evaluation.metric_table import METRICS
    from lib.tracking import list_runs
    from lib.tracking.summary_table import keep_summaries

    runs, seconds = list_runs(), []
    rows = {run.run_id: describe_run(run) for run in runs}
    for run in runs[:_WORKED_OUT]:
        started = time.perf_counter()
        rows[run.run_id] = summarise_run(run)
        seconds.append(time.perf_counter() - started)
    for row in rows.values():
        for key in METRICS:
            value = row.get(f"test_{key}")
            if value is not None and row.get(f"test_{key}_low") is None:
                row |= {f"test_{key}_low": value - 0.0312345678, f"test_{key}_high": value + 0.0312345678}
    keep_summaries({run.run_id: (made_of(str(run.folder)), rows[run.run_id]) for run in runs})
    assert len(rows) == len(made)
    return statistics.median(seconds)


def _report(name: str, seconds: list[tuple[float, float]]) -> None:
    table, whole = (sorted(part) for part in zip(*seconds, strict=True))
    rank = max(0, round(0.95 * len(table)) - 1)
    print(
        f"  {name:<28} table {1000 * statistics.median(table):6.0f} ms (p95 {1000 * table[rank]:.0f}), "
        f"whole page {1000 * statistics.median(whole):6.0f} ms (p95 {1000 * whole[rank]:.0f})",
        flush=True,
    )


if __name__ == "__main__":
    main(tuple(int(number) for number in sys.argv[1:]) or (200, 2000))
