"""Real workers for the checks, many a minute: forked from a process that has imported PyTorch and MLflow already.

A worker is `lib.jobs.run_worker` in a process and session of its own, exactly what `python -m lib train --run ID` does
after its imports. The parent that forks them (`python -m tests.checks.workers`) computes nothing itself, so that no
thread and no open database is inherited.
"""

import importlib
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image

from lib.jobs import processes, queue
from lib.jobs.dead_runs import finish_dead
from lib.tracking.state import LOG_FILE, run_folder, update_state

ROOT = Path(__file__).resolve().parents[2]


class ForkedWorkers:
    """Starts workers one after the other; used as a context manager."""

    def __enter__(self) -> "ForkedWorkers":
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.checks.workers"],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
        )  # fmt: skip
        self._is_ready = False
        return self

    def __exit__(self, *_: object) -> None:
        self._stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def launch(self, run_id: str) -> int:
        """As `jobs.launch`, of a prepared run; returns the pid of its worker."""
        if not self._is_ready:  # its imports go on while the caller prepares
            self._is_ready = self._answer() == "ready"
        self._stdin.write(f"{run_id}\n")
        pid = int(self._answer())
        queue.claim(run_id, pid)
        started_s = processes.start_time_s(pid)
        update_state(run_id, pid=pid, pid_started_s=started_s, is_detached=True, heartbeat_s=time.time())
        return pid

    def wait(self, run_id: str) -> int:
        """Wait for the end of the worker and finish its run, as the server does; returns the exit status."""
        status = int(self._answer())
        finish_dead(run_id, status)
        return status

    @property
    def _stdin(self) -> IO[str]:
        assert self._process.stdin
        return self._process.stdin

    def _answer(self) -> str:
        assert self._process.stdout
        return self._process.stdout.readline().strip()


def import_tiny_dataset(name: str = "tiny", *, per_class: int = 20) -> str:
    """Two classes of noise in different colours, 48 px, in the current library."""
    from lib.data.importing import import_folder

    folder = Path(os.environ["TRANSFERSCOPE_HOME"]) / "images"
    generator = np.random.default_rng(0)
    for class_name, colour in (("warm", (170, 110, 90)), ("cold", (90, 110, 170))):
        (folder / class_name).mkdir(parents=True)
        for number in range(per_class):
            pixels = np.clip(generator.normal(colour, 60, size=(48, 48, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / class_name / f"{number}.png")
    import_folder(folder, name=name)
    return name


# What a worker would import one after the other.
_IMPORTED = (
    "torch", "pandas", "pyarrow.parquet", "sklearn.linear_model", "alembic.autogenerate", "cryptography.fernet",
    "mlflow.tracking", "mlflow.store.tracking.sqlalchemy_store", "lib.data.library", "lib.experiment",
    "lib.models.bundles", "lib.models.classifier", "lib.models.gate", "lib.training.session", "lib.jobs",
)  # fmt: skip


def _serve() -> None:
    for name in _IMPORTED:
        importlib.import_module(name)
    from sqlalchemy.orm import configure_mappers

    configure_mappers()  # seconds, without opening a database
    print("ready", flush=True)
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            _work(line.strip())
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
    os._exit(0)  # to unload all of that takes seconds


def _work(run_id: str) -> None:
    from lib.jobs import run_worker

    os.setsid()
    with (run_folder(run_id) / LOG_FILE).open("ab") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    os.close(0)
    status = 1
    with suppress(Exception):
        run_worker(run_id)
        status = 0
    os._exit(status)


if __name__ == "__main__":
    _serve()
