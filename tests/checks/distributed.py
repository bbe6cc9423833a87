"""Two ranks equal one process, and a killed rank changes nothing: `python -m tests.checks.distributed`.

Trains a small network by `python -m lib train` in one process, under `torchrun --nproc-per-node=2`, and again with a
rank that is killed by SIGKILL after the first epoch, which torchrun restarts. Prints the largest differences of losses
and weights; exits with status 1 if the losses differ by more than 1e-5, or the killed training ends at other weights.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.update(OMP_NUM_THREADS="1", TRANSFERSCOPE_CHECKPOINT_S="0")

import numpy as np
import psutil

from lib.tracking import list_runs, metric_history, read_state, run_folder
from tests.checks.workers import ROOT, import_tiny_dataset

SETTINGS = ("input_size_px=48", "dtype=float32", "batch_size=6", "batchnorm=statistics_frozen", "patience=50")
TORCHRUN = ("-m", "torch.distributed.run", "--nproc-per-node=2", "--max-restarts=2")
TOLERANCE = 1e-5


def start(*launcher: str, epochs: int) -> subprocess.Popen[bytes]:
    """Start a training in a process of its own."""
    command = [sys.executable, *launcher, "-m", "lib", "train", "--dataset", "tiny", "--strategy", "partial_finetuning"]
    command += ["--epochs", str(epochs), "--json"]
    for setting in SETTINGS:
        command += ["--set", setting]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)


def outcome(process: subprocess.Popen[bytes], known: set[str]) -> tuple[str, np.ndarray, dict[str, np.ndarray]]:
    """The only new run, its training losses and its weights, once the process has ended."""
    from safetensors.numpy import load_file

    status = process.wait()
    new = [run.run_id for run in list_runs() if run.run_id not in known]
    assert status == 0 and len(new) == 1, f"status {status}, runs {new}"
    losses = metric_history(new[0], ["train_loss"])["value"].to_numpy()
    files = sorted((run_folder(new[0]) / "bundle").glob("*.safetensors"))
    weights = {name: tensor for path in files for name, tensor in load_file(path).items()}
    known.add(new[0])
    return new[0], losses, weights


def kill_a_rank(launcher: subprocess.Popen[bytes], known: set[str], rank: int) -> int:
    """Wait for the first epoch of the launch's run, then kill one of its processes; returns the epoch of the kill."""
    while launcher.poll() is None:
        for run in list_runs():
            epoch = 0 if run.run_id in known else int(read_state(run.run_id).progress.get("epoch", 0))
            ranks = [child for child in psutil.Process(launcher.pid).children() if "train" in child.cmdline()]
            if epoch >= 1 and len(ranks) == 2:
                os.kill(sorted(ranks, key=lambda one: one.environ()["RANK"])[rank].pid, signal.SIGKILL)
                return epoch
        time.sleep(0.05)
    raise AssertionError("The training ended before anybody could be killed.")


def main() -> int:
    """Run the check; returns the exit status."""
    epochs = 12
    with tempfile.TemporaryDirectory(prefix="transferscope-ranks-") as home:
        os.environ["TRANSFERSCOPE_HOME"] = str(Path(home))
        import_tiny_dataset()
        known: set[str] = set()
        began = time.monotonic()
        _, alone, _ = outcome(start(epochs=epochs), known)
        _, together, weights = outcome(start(*TORCHRUN, epochs=epochs), known)
        difference = float(np.abs(alone - together).max())
        print(f"one process and two ranks: losses of {epochs} epochs differ by {difference:.1e} at most", flush=True)
        is_right = difference <= TOLERANCE
        for rank in (1, 0):
            launcher = start(*TORCHRUN, epochs=epochs)
            epoch = kill_a_rank(launcher, known, rank)
            _, _, found = outcome(launcher, known)
            apart = max(float(np.abs(weights[name] - found[name]).max()) for name in weights)
            print(f"rank {rank} killed after epoch {epoch}: final weights differ by {apart:.1e} at most", flush=True)
            is_right &= apart == 0.0
        print(f"{time.monotonic() - began:.0f} s")
    return 0 if is_right else 1


if __name__ == "__main__":
    sys.exit(main())
