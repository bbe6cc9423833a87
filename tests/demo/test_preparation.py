import dataclasses

import pytest

from lib import tracking
from lib.data.library import open_dataset
from lib.demo import demo_run_ids, read_demo
from lib.demo.preparation import prepare
from lib.demo.state import demo_files
from lib.demo.story import BACKBONE, STORY
from lib.errors import UserError
from lib.jobs import tickets
from lib.models.backbones import BACKBONES
from lib.series import write_series
from lib.series.work import missing_entries
from lib.settings import DEMO_DATASET

STRATEGIES = [entry.strategy for entry in STORY]


def test_everything_is_made_once(worker):
    heard = []
    state = prepare(work=worker, progress=lambda done, total, what: heard.append((done, total, what)))
    assert (state.state, state.share, state.seconds_left) == ("finished", 1.0, None)
    assert worker.done == STRATEGIES
    assert list(state.runs) == STRATEGIES
    assert demo_run_ids() == list(state.runs.values())
    assert heard[0][2].startswith("Generated fundus images: unpacking pictures ")
    shares = [done for done, total, what in heard]
    assert shares == sorted(shares)
    run = tracking.get_run(state.runs["linear_probe"])
    assert (run.label, run.tags["demo"]) == (
        f"Linear probe · {BACKBONES.get(BACKBONE).title} · fundus-demo · demo",
        "linear_probe",
    )
    assert tickets.queue() == []

    assert prepare(work=worker).runs == state.runs
    assert worker.done == STRATEGIES  # nothing was made again


def test_a_stop_keeps_what_is_done_and_the_next_call_goes_on(worker):
    worker.stops = {"feature_extraction"}
    state = prepare(work=worker)
    assert state.state == "stopped"
    assert "What is done is kept" in state.message
    assert worker.done == STRATEGIES[:2]
    broken_off = state.runs["feature_extraction"]

    worker.stops = set()
    state = prepare(work=worker)
    assert worker.done == STRATEGIES
    assert state.runs["feature_extraction"] == broken_off  # resumed, not begun anew
    assert len(tracking.list_runs()) == len(STORY)


def test_a_failure_is_named_and_the_others_are_made(worker):
    worker.fails = {"full_finetuning"}
    with pytest.raises(UserError, match=r"Full fine-tuning failed: Memory ran out. What is done is kept"):
        prepare(work=worker)
    assert worker.done == [strategy for strategy in STRATEGIES if strategy != "full_finetuning"]
    assert read_demo().state == "failed"
    assert len(demo_run_ids()) == len(STORY) - 1


def test_deleted_runs_and_other_data_are_made_afresh(worker):
    state = prepare(work=worker)
    dataset = open_dataset(DEMO_DATASET)
    assert missing_entries(STORY, dataset, state.runs) == []
    tracking.delete_run(state.runs["linear_probe"])
    assert [entry.strategy for entry in missing_entries(STORY, dataset, state.runs)] == ["linear_probe"]

    class Regenerated:
        def __getattr__(self, name):
            return "other" if name == "version" else getattr(dataset, name)

    assert len(missing_entries(STORY, Regenerated(), state.runs)) == len(STORY)


def test_a_flag_stops_between_two_runs(worker):
    def work(run, **listeners):
        demo_files().stop.touch()
        return worker(run, **listeners)

    assert prepare(work=work).state == "stopped"
    assert worker.done == STRATEGIES[:1]
    assert not demo_files().stop.exists()


def test_only_one_process_prepares(worker):
    def work(run, **listeners):
        with pytest.raises(UserError, match="being trained already"):
            prepare(work=worker)
        return worker(run, **listeners)

    assert prepare(work=work).state == "finished"


def test_a_dead_process_is_noticed(worker):
    state = prepare(work=worker)
    write_series(demo_files(), dataclasses.replace(state, state="running", pid=2**22 + 1, pid_started_s=1.0))
    assert (read_demo().state, read_demo().seconds_left) == ("failed", None)
    demo_files().stop.touch()
    assert read_demo().state == "stopped"
    demo_files().state.write_text("{")
    assert read_demo().state == "new"
