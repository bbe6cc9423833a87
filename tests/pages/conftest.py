"""Every page test begins with empty caches: they belong to the process, and each test has a library of its own.

The first data set that pages make by themselves is a tiny one, and what is still being made after a test is stopped and
waited for.
"""

import functools
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest
import streamlit as st
from streamlit.components.v2 import manifest_scanner
from streamlit.testing.v1 import app_test, local_script_runner

from lib import jobs
from lib.board import read_board
from lib.data import builtin
from lib.tracking import sqlite_client
from lib.training.config import TrainConfig
from pages.common import background

# Each AppTest makes a runtime of its own, which reads the metadata of every installed package: half of a test's time.
manifest_scanner.scan_component_manifests = functools.cache(manifest_scanner.scan_component_manifests)
# And each run of one compiles every page again.
app_test.ScriptCache = functools.cache(app_test.ScriptCache)


def _wait_for_end(runner: local_script_runner.LocalScriptRunner, timeout: float = 3) -> None:
    """As the original, without asking a thousand times a second: each question holds up the page's own thread."""
    thread = runner._script_thread
    if thread is not None:
        thread.join(timeout)
    if not runner.script_stopped():
        runner.request_stop()
        runner.join()
        raise RuntimeError(f"AppTest script run timed out after {timeout}(s)")


local_script_runner.require_widgets_deltas = _wait_for_end
_MOST_S = 60.0
_open_store = sqlite_client.SqliteClient._open


def _open_store_at_once(client: sqlite_client.SqliteClient, **options: bool) -> sqlite3.Connection:
    """As `_open`, but no change waits for the disk; a damaged store is left to who reads it."""
    connection = _open_store(client, **options)
    with suppress(sqlite3.Error):
        connection.execute("PRAGMA synchronous = OFF")
    return connection


@pytest.fixture(autouse=True)
def _fresh_caches(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(builtin, "DEFAULT_PER_CLASS", 5)
    monkeypatch.setattr(builtin, "DEFAULT_SIZE_PX", 64)
    monkeypatch.setattr(sqlite_client.SqliteClient, "_open", _open_store_at_once)
    # However busy the machine is, the board waits for the figures of a few runs.
    monkeypatch.setitem(read_board.__kwdefaults__, "at_once_s", _MOST_S)
    _clear_caches()  # tests elsewhere open pages too
    yield
    for task in background._tasks.values():
        task.stop.set()
    # A task draws random weights from the generator of the whole process, which the next test may be using.
    for thread in threading.enumerate():
        if thread.name.startswith("task "):
            thread.join(_MOST_S)
            assert not thread.is_alive(), f"{thread.name} does not end when it is stopped"
    _clear_caches()


def _clear_caches() -> None:
    st.cache_data.clear()
    st.cache_resource.clear()
    background._tasks.clear()


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[TrainConfig]:
    """Configs that were started; no worker process begins, the run is written as it would be."""
    configs = []

    def start(config: TrainConfig) -> str:
        configs.append(config)
        return jobs.prepare(config).run_id

    monkeypatch.setattr(jobs, "start", start)
    return configs
