"""Workers killed at random moments end at the same weights: `python -m tests.checks.kills [--count 100] [--seed 0]`.

Each training is killed by SIGKILL and resumed again and again until it finishes; then its weights, its predictions and
its curves are compared bit for bit with those of a training that nobody disturbed. Every third kill waits until a
checkpoint is being written. After each kill the run must be readable, and offer to be resumed. Exits with status 1 at
the first difference. A tenth of the kills takes about ten seconds on two cores.
"""

import argparse
import os
import random
import signal
import sqlite3
import sys
import tempfile
import time
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# Before numpy and torch: small images gain nothing from more threads, and the other core is for the one who kills.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["TRANSFERSCOPE_CHECKPOINT_S"] = "0.1"

from lib import jobs, tracking
from lib.jobs import queue
from lib.settings import runs_dir
from lib.tracking import RunState, read_state, run_folder, store
from lib.training.config import TrainConfig
from lib.training.strategies import STRATEGIES
from tests.checks.workers import ForkedWorkers, import_tiny_dataset

SETTINGS = {"dataset": "tiny", "epochs": 4, "batch_size": 8, "input_size_px": 48, "dtype": "float32", "patience": 2}
# What each training carries from step to step, beside weights and moments.
ARMS: dict[str, dict[str, Any]] = {
    "full_finetuning": {"mixup": 0.2, "schedule": "plateau", "augmentation": "modern", "label_smoothing": 0.1},
    "partial_finetuning": {"augmentation": "dihedral", "optimizer": "sgd", "learning_rate": 0.01},
    "gradual_unfreezing": {"augmentation": "rotations"},
    "probe_then_finetune": {"schedule": "one_cycle"},
    "feature_extraction": {"epochs": 12, "augmentation": "flip"},
}
CURVES = ("train_loss", "train_accuracy", "val_loss", "val_accuracy", "learning_rate")


@dataclass
class Tally:
    """What happened so far."""

    count: int
    kills: int = 0
    resumes: int = 0
    finished: int = 0
    phases: dict[str, int] = field(default_factory=dict)
    differences: list[str] = field(default_factory=list)


def main() -> int:
    """Run the check; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100, help="How many kills with a resume.")
    parser.add_argument("--seed", type=int, default=0, help="Of the moments.")
    options = parser.parse_args()
    started = time.monotonic()
    tally, generator = Tally(options.count), random.Random(options.seed)
    with tempfile.TemporaryDirectory(prefix="transferscope-kills-") as home:
        os.environ["TRANSFERSCOPE_HOME"] = home
        import_tiny_dataset()
        with ForkedWorkers() as workers:
            arms = {name: settings for name, settings in ARMS.items() if name in STRATEGIES}
            expected: dict[str, dict[str, Any]] = {}
            while tally.resumes < tally.count and not tally.differences:
                name = list(arms)[tally.finished % len(arms)]
                config = TrainConfig(strategy=name, **{**SETTINGS, **arms[name]})
                if name not in expected:
                    expected[name] = undisturbed(workers, config)
                tally.differences += disturbed(workers, config, expected[name], tally, generator)
        tally.differences += damaged_databases()
    where = ", ".join(f"{number} in {phase}" for phase, number in sorted(tally.phases.items()))
    print(f"Killed {tally.kills} times ({where}), resumed {tally.resumes} times, {tally.finished} trainings finished,")
    print(f"{time.monotonic() - started:.0f} s.")
    for difference in tally.differences:
        print(f"DIFFERENT: {difference}")
    if not tally.differences:
        print("Final weights, predictions and curves: bit-identical to the undisturbed trainings.")
    return 1 if tally.differences else 0


def undisturbed(workers: ForkedWorkers, config: TrainConfig) -> dict[str, Any]:
    """What a training that nobody kills ends with, and how long it takes."""
    run = jobs.prepare(config)
    workers.launch(run.run_id)
    began = time.monotonic()
    workers.wait(run.run_id)
    seconds = time.monotonic() - began
    print(f"{config.strategy}: undisturbed in {seconds:.1f} s", flush=True)
    return {**outcome(run.run_id), "seconds": seconds}


def disturbed(
    workers: ForkedWorkers, config: TrainConfig, expected: dict[str, Any], tally: Tally, generator: random.Random
) -> list[str]:
    """Kill and resume one training until it is finished; returns what differs."""
    run_id = jobs.prepare(config).run_id
    while True:
        pid = workers.launch(run_id)
        began = time.monotonic()
        if tally.resumes < tally.count:
            wait_for_moment(run_id, pid, expected["seconds"], is_aimed=tally.kills % 3 == 2, generator=generator)
            lived_s = time.monotonic() - began
            with suppress(ProcessLookupError):  # it had finished
                os.kill(pid, signal.SIGKILL)
        if workers.wait(run_id) != -signal.SIGKILL:
            break
        state = read_state(run_id)
        tally.kills += 1
        phase = str(state.progress.get("phase") or "starting").lower()
        tally.phases[phase] = tally.phases.get(phase, 0) + 1
        print(
            f"kill {tally.kills:3d}  {config.strategy:19s} after {lived_s:4.1f} s  {phase} "
            f"{state.progress.get('done', '')}  -> {state.state}",
            flush=True,
        )
        if wrong := unreadable(state):
            return [wrong]
        if state.state == "finished":
            break  # killed after its last word
        jobs.prepare_resume(run_id)
        tally.resumes += 1
    if read_state(run_id).state != "finished":
        return [f"{config.strategy} ended as {read_state(run_id).state}: {read_state(run_id).message}"]
    tally.finished += 1
    found = outcome(run_id)
    differences = [f"{config.strategy}: {key}" for key in found if found[key] != expected[key]]
    print(f"          {config.strategy} finished: {'DIFFERENT' if differences else 'bit-identical'}", flush=True)
    return differences


def wait_for_moment(run_id: str, pid: int, seconds: float, *, is_aimed: bool, generator: random.Random) -> None:
    """Sleep for a random part of a training; if aimed, until a checkpoint is half written after that."""
    time.sleep(generator.uniform(0, 0.5 if is_aimed else 1.0) * seconds)
    deadline = time.monotonic() + seconds
    folder = run_folder(run_id) / "checkpoints"
    while is_aimed and time.monotonic() < deadline and read_state(run_id).is_active:
        if any(folder.glob(".checkpoint-*.part")):
            return
        time.sleep(0.001)


def unreadable(state: RunState) -> str:
    """What cannot be read of a killed run, "" if all can."""
    record = tracking.get_run(state.run_id)
    status = store.client().get_run(state.run_id).info.status
    tracking.metric_history(state.run_id, CURVES)
    tracking.list_runs()
    if state.state != record.state or state.state not in ("killed", "finished"):
        return f"after a kill the run is {state.state}: {state.message}"
    if status != {"killed": "KILLED", "finished": "FINISHED"}[state.state]:
        return f"after a kill the run is {state.state} here and {status} in MLflow"
    if state.state == "killed" and "memory" not in state.message:
        return f"the killed run does not say why: {state.message}"
    return "" if not queue.tickets() else "the killed run is still in the queue"


def outcome(run_id: str) -> dict[str, Any]:
    """Weights, predictions and curves of a finished run, as bytes."""
    from safetensors.torch import load_file

    bundle: Path = run_folder(run_id) / "bundle"
    weights = {
        f"{path.name}:{name}": tensor.numpy().tobytes()
        for path in sorted(bundle.glob("*.safetensors"))
        for name, tensor in load_file(path).items()
    }
    assert weights, f"the run {run_id} has no weights: {read_state(run_id)}\n{jobs.tail_log(run_id)}"
    history = tracking.metric_history(run_id, CURVES)
    return {
        "weights": weights,
        "predictions": tracking.predictions(run_id).to_csv(),
        "curves": history[["key", "step", "value"]].to_csv(),
        "leftovers": sorted(path.name for path in run_folder(run_id).glob("checkpoints/*.pt")),
    }


def damaged_databases() -> list[str]:
    """Databases that are not whole after all these kills."""
    found = []
    for name in ("mlflow.db", "jobs.sqlite"):
        with closing(sqlite3.connect(runs_dir() / name)) as connection:
            answer = connection.execute("PRAGMA integrity_check").fetchone()[0]
        if answer != "ok":
            found.append(f"{name}: {answer}")
    return found


if __name__ == "__main__":
    sys.exit(main())
