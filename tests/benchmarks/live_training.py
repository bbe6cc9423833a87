"""`python -m tests.benchmarks.live_training HOME`: the page of one training in a real browser while it trains.

Starts full fine-tuning on the default data set by a click, and prints the lag from the worker's line of an epoch to the
same epoch on screen, and the time of a rerun of the whole page (another strategy is chosen) while the training runs;
the training is stopped when enough was measured. Screenshots go to `--shots FOLDER`.
"""

import argparse
import os
import time
from pathlib import Path
from typing import Any

from tests.benchmarks.browser import report, shoot, time_click, train_page

NUM_RERUNS = 30
NUM_EPOCHS = 6
LIMIT_S = 400
_IS_CHOSEN = """
name => document.querySelector(`.st-key-train_strategy_${name} [data-testid=stIconMaterial]`)?.innerText
  === 'radio_button_checked'
"""
_CARDS = ("linear_probe", "Linear probe"), ("full_finetuning", "Full fine-tuning")


def main() -> None:
    """Measure one training."""
    parser = argparse.ArgumentParser()
    parser.add_argument("home", type=Path)
    parser.add_argument("--port", type=int, default=8598)
    parser.add_argument("--shots", type=Path)
    asked = parser.parse_args()
    os.environ["TRANSFERSCOPE_HOME"] = str(asked.home)
    with train_page(asked.home, asked.port) as page:
        page.get_by_text("Full fine-tuning", exact=True).first.click(timeout=120_000)
        page.wait_for_timeout(4000)
        shoot(page, asked.shots, "training_before")
        page.locator(".st-key-train_start button").first.click()
        _watch(page, asked.shots)


def _watch(page: Any, shots: Path | None) -> None:
    from lib import jobs
    from lib.tracking.state import read_state

    run_id = _started_run(jobs)
    reruns: list[float] = []
    lags: list[float] = []
    written: dict[int, float] = {}
    known, began, next_rerun = 0, time.time(), time.time() + 15
    while time.time() - began < LIMIT_S and (len(reruns) < NUM_RERUNS or known < NUM_EPOCHS):
        state = read_state(run_id)
        if not state.is_active:
            break
        epoch = int(state.progress.get("epoch") or 0)
        if epoch > known:
            known, written[epoch] = epoch, time.time()
        shown = page.evaluate("document.querySelector('.st-key-train_live')?.innerText ?? document.body.innerText")
        for number in [number for number in written if f"Epochs done\n{number}\n" in shown]:
            lags.append(time.time() - written.pop(number))
        if known and len(reruns) < NUM_RERUNS and time.time() > next_rerun:
            name, title = _CARDS[len(reruns) % 2]
            reruns.append(time_click(page, f".st-key-train_strategy_{name} button", title, _IS_CHOSEN, name))
            next_rerun = time.time() + 1
        if len(reruns) == 10:
            shoot(page, shots, "training_during")
        page.wait_for_timeout(100)
    jobs.stop(run_id)
    report("lag from the worker's epoch to the screen", lags)
    report("rerun of the page, click to the other strategy chosen", reruns)
    page.wait_for_timeout(6000)
    shoot(page, shots, "training_after")


def _started_run(jobs: Any) -> str:
    deadline = time.time() + 60
    while time.time() < deadline:
        for run in jobs.active_runs():
            return str(run.run_id)
        time.sleep(0.1)
    raise SystemExit("No training began.")


if __name__ == "__main__":
    main()
