"""`python -m tests.benchmarks.live HOME [--cold]`: how quickly a race shows in a real browser.

Starts a server on a home that holds the default data set, clicks "Race the ladder", and prints the seconds from the
click until rungs are on screen, the lag from the worker's line in a rung's curve to the same epoch on screen, the time
of a rerun of the page while the race runs, and the share of the rungs' time that pinned images took. `--cold` removes
the cached features first. Screenshots go to `--shots FOLDER`. Needs Chromium (CHROMIUM_PATH).
"""

import argparse
import os
import shutil
import time
from pathlib import Path

from tests.benchmarks.browser import report, shoot, time_click, train_page

NUM_RERUNS = 30
LIMIT_S = 1200


def main() -> None:
    """Measure one race."""
    parser = argparse.ArgumentParser()
    parser.add_argument("home", type=Path)
    parser.add_argument("--cold", action="store_true")
    parser.add_argument("--port", type=int, default=8599)
    parser.add_argument("--shots", type=Path)
    asked = parser.parse_args()
    os.environ["TRANSFERSCOPE_HOME"] = str(asked.home)
    if asked.cold:
        shutil.rmtree(asked.home / "cache" / "features", ignore_errors=True)
    with train_page(asked.home, asked.port) as page:
        page.get_by_text("Race the ladder", exact=True).first.click(timeout=120_000)
        button = page.locator(".st-key-race_start button")
        button.wait_for(timeout=60_000)
        page.wait_for_timeout(3000)
        shoot(page, asked.shots, "before")
        known = page.url
        button.click()
        clicked = time.time()
        while page.url == known or "race=" not in page.url:
            page.wait_for_timeout(20)
        # The link changes before the picture of an earlier race has gone.
        page.get_by_text("waits for its turn").first.wait_for(timeout=60_000)
        _watch(page, page.url.split("race=")[1].split("&")[0], clicked, asked.shots)


def _watch(page, race_id: str, clicked: float, shots: Path | None) -> None:
    from lib.sweeps.strategies import StrategySweep

    plan = StrategySweep.find(race_id)
    shown_s: dict[str, float] = {}
    written: dict[tuple[str, int], float] = {}
    lags: list[float] = []
    reruns: list[float] = []
    titles = {entry.title: entry.key for entry in plan.entries}
    is_accuracy, next_rerun = False, time.time() + 15
    while time.time() - clicked < LIMIT_S:
        now, state = time.time(), plan.read()
        _note_written(state.runs, written, now)
        rows = page.evaluate("[...document.querySelectorAll('.rl tbody tr')].map(row => row.innerText)")
        for row in rows:
            title = next((title for title in titles if title in row.split("\t")[0]), None)
            if title is None:
                continue
            if " to " in row and titles[title] not in shown_s:
                shown_s[titles[title]] = time.time() - clicked
                print(f"{title}: on screen {shown_s[titles[title]]:.1f} s after the click", flush=True)
            for key in [key for key in written if key[0] == titles[title]]:
                if f"{key[1]} epoch" in row:
                    lags.append(time.time() - written.pop(key))
        if not state.is_active and now - clicked > 5 and (len(shown_s) == len(titles) or state.state != "finished"):
            break
        if shown_s and len(reruns) < NUM_RERUNS and now >= next_rerun:
            is_accuracy = not is_accuracy
            reruns.append(_rerun(page, is_accuracy=is_accuracy))
            next_rerun = time.time() + 1
        if len(reruns) == 10:
            shoot(page, shots, "during")
        page.wait_for_timeout(100)
    print(f"race: {plan.read().state} after {time.time() - clicked:.0f} s")
    report("lag from the worker's line to the screen", lags)
    report("rerun of the page, click to new picture", reruns)
    _report_pinned(plan)
    page.wait_for_timeout(3000)
    shoot(page, shots, "after")


def _note_written(runs: dict[str, str], written: dict[tuple[str, int], float], now: float) -> None:
    """Remember when the newest epoch of each curve was first seen in its file."""
    from lib.sweeps.strategies import CURVE_FILE, read_curve
    from lib.tracking import run_folder

    for key, run_id in runs.items():
        path = run_folder(run_id) / CURVE_FILE
        if not path.is_file() or now - path.stat().st_mtime > 5:
            continue
        points = read_curve(run_folder(run_id)).points
        if points and (key, points[-1].epoch) not in _seen:
            _seen.add((key, points[-1].epoch))
            written[key, points[-1].epoch] = path.stat().st_mtime


_seen: set[tuple[str, int]] = set()


_IS_TITLED = "title => document.querySelector('.gtitle')?.textContent.startsWith(title)"


def _rerun(page, *, is_accuracy: bool) -> float:
    """Choose the other metric: the whole page runs again, and the picture gets another title."""
    label, title = ("Accuracy", "Accuracy on") if is_accuracy else ("Weighted kappa", "Quadratic weighted kappa on")
    return time_click(page, ".st-key-race_metric button", label, _IS_TITLED, title)


def _report_pinned(plan) -> None:
    from lib.sweeps.results import arm_results
    from lib.watched_images import frame_epochs, read_frame

    for standing in arm_results(plan):
        if standing.folder is None or not standing.is_finished:
            continue
        seconds = sum(read_frame(standing.folder, epoch).seconds for epoch in frame_epochs(standing.folder))
        total = standing.summary["seconds_total"]
        print(f"{standing.title}: {total:.1f} s, pinned images {seconds:.2f} s ({seconds / total:.1%})")


if __name__ == "__main__":
    main()
