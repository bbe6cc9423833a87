"""The table of summaries is a cache: damaged, missing, read-only, of another program, shared by processes."""

import os
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest

from lib.settings import runs_dir
from lib.tracking import summary_table
from lib.tracking.summary_table import SUMMARY_TABLE_FILE, keep_summaries, read_summaries


@pytest.fixture(autouse=True)
def _nothing_unwritten():
    summary_table._unwritten.clear()


def test_a_line_holds_as_long_as_its_key():
    assert read_summaries({"a": "1"}) == {}
    assert keep_summaries({"a": ("1", {"x": 0.5}), "b": ("1", {"y": None})})
    assert read_summaries({"a": "1", "b": "2", "c": "1"}) == {"a": {"x": 0.5}}
    assert keep_summaries({"a": ("2", {"x": 0.25})})
    assert read_summaries({"a": "2", "b": "1"}) == {"a": {"x": 0.25}, "b": {"y": None}}
    assert keep_summaries({})


@pytest.mark.parametrize("content", [b"", b"no database at all" * 300])
def test_a_damaged_file_is_begun_anew(content):
    keep_summaries({"a": ("1", {"x": 1})})
    path = runs_dir() / SUMMARY_TABLE_FILE
    path.write_bytes(content)
    assert read_summaries({"a": "1"}) == {}
    assert keep_summaries({"a": ("1", {"x": 2})})
    assert read_summaries({"a": "1"}) == {"a": {"x": 2}}


def test_a_file_cut_in_the_middle_is_begun_anew():
    keep_summaries({f"run{number}": ("1", {"x": "y" * 200}) for number in range(400)})
    path = runs_dir() / SUMMARY_TABLE_FILE
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert len(read_summaries({f"run{number}": "1" for number in range(400)})) < 400
    assert keep_summaries({"a": ("1", {"x": 2})})
    assert read_summaries({"a": "1"}) == {"a": {"x": 2}}


def test_a_file_of_another_program_is_begun_anew():
    with closing(sqlite3.connect(runs_dir() / SUMMARY_TABLE_FILE)) as connection, connection:
        connection.execute("CREATE TABLE summaries (run_id TEXT PRIMARY KEY, other TEXT)")
    assert read_summaries({"a": "1"}) == {}
    assert keep_summaries({"a": ("1", {"x": 2})})
    assert read_summaries({"a": "1"}) == {"a": {"x": 2}}


def test_where_none_can_be_written_this_process_keeps_them(monkeypatch):
    def refuse(*_, **__):
        raise sqlite3.OperationalError("unable to open database file")

    monkeypatch.setattr(sqlite3, "connect", refuse)
    assert not keep_summaries({"a": ("1", {"x": 2})})
    assert read_summaries({"a": "1"}) == {"a": {"x": 2}}
    assert read_summaries({"a": "2"}) == {}


@pytest.mark.slow
def test_two_processes_at_once_lose_nothing():
    code = (
        "import sys\nfrom lib.tracking.summary_table import keep_summaries\n"
        "for number in range(40):\n    assert keep_summaries({f'{sys.argv[1]}{number}': ('1', {'x': number})})"
    )
    both = [subprocess.Popen([sys.executable, "-c", code, name], env={**os.environ}) for name in "ab"]
    assert [process.wait(60) for process in both] == [0, 0]
    assert len(read_summaries({f"{name}{number}": "1" for name in "ab" for number in range(40)})) == 80
