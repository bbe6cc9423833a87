"""What pages keep of work that was done: files read once for each state of them, and the last results."""

import logging
import math
import os
import threading
import time
from pathlib import Path

import pytest
import streamlit as st

from lib.atomic import write_json
from lib.errors import Stopped
from lib.progress import Progress
from pages.common import background
from pages.common.background import Recent, Task, forget, kept_measurement, start


def test_a_file_is_read_once_for_each_state_of_it(tmp_path: Path) -> None:
    st.cache_resource.clear()
    path, read = tmp_path / "kept.json", []

    def parse(content: dict[str, int]) -> int:
        read.append(content)
        return content["value"]

    assert kept_measurement(path, parse) is None
    for value in (1, 2):
        write_json(path, {"value": value})
        os.utime(path, ns=(value, value))
        assert [kept_measurement(path, parse) for _ in range(3)] == [value] * 3
    assert len(read) == 2


def test_the_last_results_are_kept_and_the_oldest_goes() -> None:
    recent: Recent[str] = Recent(most=2)
    assert [recent.put(key, key.upper()) for key in "abc"] == ["A", "B", "C"]
    assert [recent.get(key) for key in "abc"] == [None, "B", "C"]


def test_after_a_stop_a_task_says_what_is_left_of_it() -> None:
    def work(progress: Progress) -> None:
        while True:
            progress(0, 1, "one of many")

    said = {}
    for sentence in (Task.stopped, "Stopped; the first two are kept."):
        task = start("list", "A list", work, stopped=sentence)
        task.stop.set()
        deadline = time.monotonic() + 10
        while not task.is_over and time.monotonic() < deadline:
            time.sleep(0.01)
        said[sentence] = task.error
        forget("list")
    assert said == {sentence: sentence for sentence in said}


def test_a_task_that_reads_through_a_cache_of_streamlit_logs_no_warning() -> None:
    logger, records = logging.getLogger("streamlit.runtime.scriptrunner_utils.script_run_context"), []
    handler = logging.Handler()
    handler.emit = records.append
    logger.addHandler(handler)
    try:
        for name in ("task maps", "another"):
            thread = threading.Thread(target=logger.warning, args=("missing ScriptRunContext",), name=name)
            thread.start()
            thread.join()
    finally:
        logger.removeHandler(handler)
    assert [record.threadName for record in records] == ["another"]


def test_what_stopped_work_says_goes_before_the_sentence_of_the_task() -> None:
    def work(progress: Progress) -> None:
        raise Stopped("Stopped. 64 of 100 images are stored.")

    task = start("stopping", "Stopping", work)
    while not task.is_over:
        time.sleep(0.005)
    assert task.error == "Stopped. 64 of 100 images are stored."


def test_the_time_left_goes_by_the_present_step_and_not_by_what_was_done_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = iter([0.0, 10.0, 10.0, 20.0, 20.0])
    monkeypatch.setattr(background.time, "monotonic", lambda: next(now))
    task = Task("pace", "Pace")
    task.report(1000, 1000, "reading headers")  # at 0 s
    task.report(600, 1000, "decoding images")  # at 10 s: an earlier try had done them
    assert math.isnan(task.seconds_left)  # at 10 s
    task.report(700, 1000, "decoding images")
    assert task.seconds_left == 30.0  # at 20 s: 100 in ten seconds, 300 to come
