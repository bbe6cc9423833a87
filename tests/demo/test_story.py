import dataclasses
import subprocess
import sys
import time

import pytest

from lib import tracking
from lib.data.builtin import install_dataset
from lib.data.library import open_dataset
from lib.demo import DEMO, STORY, demo_run_ids
from lib.demo.story import BACKBONE, EPOCHS
from lib.errors import UserError
from lib.jobs import processes, queue
from lib.models.backbones import BACKBONES
from lib.settings import DEMO_DATASET
from lib.sweeps import plan
from lib.sweeps.runner import missing_entries, run_sweep
from lib.training.resolution import resolve_config
from lib.training.strategies import STRATEGIES

NAMES = [entry.key for entry in STORY]


def test_story_goes_from_no_training_to_from_scratch_on_equal_terms(shipped):
    told = [entry.key for entry in STORY]
    assert told == [name for name in STRATEGIES.names if name in told]  # in the table's order
    assert (told[0], told[-1], len(told)) == ("nearest_neighbors", "from_scratch", 6)
    assert {entry.config.dataset for entry in STORY} == {DEMO_DATASET}
    dataset = install_dataset(shipped.folder / "dataset")
    configs = [resolve_config(entry.config, dataset) for entry in STORY]
    assert {(config.backbone, config.seed, config.split_seed) for config in configs} == {(BACKBONE, 0, 0)}
    assert len({config.input_size_px for config in configs}) == 1
    epochs = {config.strategy: config.epochs for config in configs}
    trained = ("partial_finetuning", "full_finetuning", "from_scratch")
    assert {epochs[name] for name in trained} == {EPOCHS}  # equal epochs
    assert len({entry.name for entry in STORY}) == len(STORY)


def test_pages_read_the_story_without_torch_and_mlflow():
    code = (
        "import sys; from lib import demo; demo.DEMO.read(); sys.exit({'torch', 'mlflow'} & set(sys.modules) != set())"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


def test_everything_is_made_once(worker):
    heard = []
    state = run_sweep(DEMO, work=worker, progress=lambda done, total, what: heard.append((done, total, what)))
    assert (state.state, state.share, state.seconds_left) == ("finished", 1.0, None)
    assert worker.done == NAMES
    assert list(state.runs) == NAMES
    assert demo_run_ids() == list(state.runs.values())
    assert heard[0][2].startswith("Generated fundus images: unpacking pictures ")
    shares = [done for done, total, what in heard]
    assert shares == sorted(shares)
    run = tracking.get_run(state.runs["linear_probe"])
    assert (run.label, run.tags["demo"]) == (
        f"Linear probe · {BACKBONES.get(BACKBONE).title} · fundus-demo · demo",
        "linear_probe",
    )
    assert queue.tickets() == []

    assert run_sweep(DEMO, work=worker).runs == state.runs
    assert worker.done == NAMES  # nothing was made again


def test_a_stop_keeps_what_is_done_and_the_next_call_goes_on(worker):
    worker.stops = {"feature_extraction"}
    state = run_sweep(DEMO, work=worker)
    assert state.state == "stopped"
    assert "What is done is kept" in state.message
    assert worker.done == NAMES[:2]
    broken_off = state.runs["feature_extraction"]

    worker.stops = set()
    state = run_sweep(DEMO, work=worker)
    assert worker.done == NAMES
    assert state.runs["feature_extraction"] == broken_off  # resumed, not begun anew
    assert len(tracking.list_runs()) == len(STORY)


def test_a_failure_is_named_and_the_others_are_made(worker):
    worker.fails = {"full_finetuning"}
    with pytest.raises(UserError, match=r"Full fine-tuning failed: Memory ran out. What is done is kept"):
        run_sweep(DEMO, work=worker)
    assert worker.done == [strategy for strategy in NAMES if strategy != "full_finetuning"]
    assert DEMO.read().state == "failed"
    assert len(demo_run_ids()) == len(STORY) - 1


def test_deleted_runs_and_other_data_are_made_afresh(worker):
    state = run_sweep(DEMO, work=worker)
    dataset = open_dataset(DEMO_DATASET)
    assert missing_entries(STORY, {DEMO_DATASET: dataset}, state.runs) == []
    tracking.delete_run(state.runs["linear_probe"])
    assert [entry.key for entry in missing_entries(STORY, {DEMO_DATASET: dataset}, state.runs)] == ["linear_probe"]

    class Regenerated:
        def __getattr__(self, name):
            return "other" if name == "version" else getattr(dataset, name)

    assert len(missing_entries(STORY, {DEMO_DATASET: Regenerated()}, state.runs)) == len(STORY)


def test_a_flag_stops_between_two_runs(worker):
    def work(run, **listeners):
        DEMO.path(".stop").touch()
        return worker(run, **listeners)

    assert run_sweep(DEMO, work=work).state == "stopped"
    assert worker.done == NAMES[:1]
    assert not DEMO.path(".stop").exists()


def test_only_one_process_prepares(worker):
    def work(run, **listeners):
        with pytest.raises(UserError, match="being trained already"):
            run_sweep(DEMO, work=worker)
        return worker(run, **listeners)

    assert run_sweep(DEMO, work=work).state == "finished"


def test_a_dead_process_is_noticed(worker):
    state = run_sweep(DEMO, work=worker)
    DEMO.keep(dataclasses.replace(state, state="running", pid=2**22 + 1, pid_started_s=1.0))
    assert (DEMO.read().state, DEMO.read().seconds_left) == ("failed", None)
    DEMO.path(".stop").touch()
    assert DEMO.read().state == "stopped"
    DEMO.path().write_text("{")
    assert DEMO.read().state == "new"


def test_start_and_stop_of_a_real_process(monkeypatch):
    spawn = processes.spawn_detached
    monkeypatch.setattr(processes, "spawn_detached", lambda command, log: spawn(["sleep", "60"], log))
    monkeypatch.setattr(plan, "STOP_TIMEOUT_S", 0.2)
    assert DEMO.stop().state == "new"  # nothing to stop
    state = DEMO.start()
    assert (state.state, state.step) == ("running", "Starting")
    assert DEMO.start().pid == state.pid  # a second click starts nothing
    assert DEMO.stop().state == "stopping"
    deadline = time.monotonic() + 10
    while DEMO.read().is_active:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert DEMO.read().state == "stopped"
    assert not processes.is_alive(state.pid, state.pid_started_s)
