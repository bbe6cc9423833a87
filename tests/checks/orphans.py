"""Nothing is left of trainings that were started, stopped and killed: `python -m tests.checks.orphans [--count 20]`.

Real workers (`python -m lib train --run ID`) are started by this process, or by a server that is killed right after it,
and end at a random moment by a stop or by SIGKILL. A worker whose server was killed must go on, be found again and be
stopped from here. At the end no process, no zombie, no ticket and no run that still seems to be at work may be left;
exits with status 1 otherwise. Takes about five seconds a cycle on two free cores.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time

os.environ["OMP_NUM_THREADS"] = "1"

import psutil

from lib import jobs
from lib.jobs import processes, queue
from lib.tracking import read_state
from lib.tracking.state import stored_states
from lib.training.config import TrainConfig
from tests.checks.workers import ROOT, import_tiny_dataset

MAX_LIFE_S = 8.0
WAYS = ("stop", "kill", "server")
# A server in short: it starts a training and serves on until it is killed.
SERVER = """
import json, sys, time
from lib import jobs
from lib.training.config import TrainConfig
print(jobs.start(TrainConfig.from_dict(json.loads(sys.argv[1]))), flush=True)
time.sleep(600)
"""


def main() -> int:
    """Run the check; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=20, help="How many cycles.")
    parser.add_argument("--seed", type=int, default=0, help="Of the moments.")
    options = parser.parse_args()
    generator, wrong = random.Random(options.seed), []
    with tempfile.TemporaryDirectory(prefix="transferscope-orphans-", ignore_cleanup_errors=True) as home:
        os.environ["TRANSFERSCOPE_HOME"] = home
        config = TrainConfig(
            dataset=import_tiny_dataset(), strategy="full_finetuning", epochs=500, patience=500, input_size_px=48
        )
        for cycle in range(options.count):
            way = WAYS[cycle % len(WAYS)]
            life_s = generator.uniform(0, MAX_LIFE_S)
            wrong += one_cycle(config, way, life_s)
            print(f"cycle {cycle + 1:2d}  {way:6s} after {life_s:3.1f} s  -> {stored_states()[0].state}", flush=True)
        wrong += leftovers(home)
    print("\n".join(wrong) or f"{options.count} cycles: no process, no zombie, no ticket and no open run is left.")
    return 1 if wrong else 0


def one_cycle(config: TrainConfig, way: str, life_s: float) -> list[str]:
    """Start a training and end it; returns what was wrong."""
    run_id = start_by_a_server_that_dies(config) if way == "server" else jobs.start(config)
    state = read_state(run_id)
    time.sleep(life_s)
    if not processes.is_alive(state.pid, state.pid_started_s):
        return [f"The worker of {run_id} ended by itself: {read_state(run_id).message} {jobs.tail_log(run_id)}"]
    if [run.run_id for run in jobs.active_runs()] != [run_id]:
        return [f"The run {run_id} is not found at work."]
    if way == "kill":
        os.kill(state.pid or 0, signal.SIGKILL)
        wanted = "killed"
    else:
        jobs.stop(run_id, wait=True)
        wanted = "stopped"
    deadline = time.monotonic() + 20
    while read_state(run_id).is_active and time.monotonic() < deadline:
        jobs.active_runs()
        time.sleep(0.1)
    found = read_state(run_id).state
    return [] if found == wanted else [f"The run {run_id} is {found}, not {wanted}."]


def start_by_a_server_that_dies(config: TrainConfig) -> str:
    """Have another process start a training, and kill it; returns the run's id."""
    command = [sys.executable, "-c", SERVER, json.dumps(config.to_dict())]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        run_id = server.stdout.readline().strip()
        server.kill()
    return run_id


def leftovers(home: str) -> list[str]:
    """What is left of all trainings in this home."""
    time.sleep(1.0)
    wrong = [f"The run {state.run_id} is still {state.state}." for state in stored_states() if state.is_active]
    wrong += [f"The run {ticket.run_id} still has a ticket." for ticket in queue.tickets()]
    for process in psutil.process_iter():
        try:
            if process.pid == os.getpid():
                continue
            is_zombie = process.ppid() == os.getpid() and process.status() == psutil.STATUS_ZOMBIE
            if is_zombie or process.environ().get("TRANSFERSCOPE_HOME") == home:
                wrong.append(f"The process {process.pid} is left: {' '.join(process.cmdline())} ({process.status()}).")
        except psutil.Error:
            continue
    return wrong


if __name__ == "__main__":
    sys.exit(main())
