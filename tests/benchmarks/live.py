"""`python -m tests.benchmarks.live HOME [--cold]`: how quickly a race shows in a real browser.

Starts a server on a home that holds the default data set, clicks "Race the ladder", and prints the seconds from the
click until rungs are on screen, the lag from the worker's line in a rung's curve to the same epoch on screen, the time
of a rerun of the page while the race runs, and the share of the rungs' time that pinned images took. `--cold` removes
the cached features first. Screenshots go to `--shots FOLDER`. Needs Chromium (CHROMIUM_PATH).
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress
from pathlib import Path

from lib.settings import PROJECT_ROOT

CHROMIUM = os.environ.get("CHROMIUM_PATH", "/usr/bin/chromium")
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
    command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.port", str(asked.port)]
    server = subprocess.Popen(
        [*command, "--server.headless", "true"], cwd=PROJECT_ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        measure(f"http://127.0.0.1:{asked.port}", asked.shots)
    finally:
        server.terminate()
        server.wait(20)


def measure(url: str, shots: Path | None) -> None:
    """Drive the page through one race."""
    from playwright.sync_api import sync_playwright

    from lib.settings import DEFAULT_DATASET

    _wait_for(url)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 1400})
        page.goto(f"{url}/train_model?dataset={DEFAULT_DATASET}")
        page.get_by_text("Race the ladder", exact=True).first.click(timeout=120_000)
        button = page.locator(".st-key-race_start button")
        button.wait_for(timeout=60_000)
        page.wait_for_timeout(3000)
        _shoot(page, shots, "before")
        known = page.url
        button.click()
        clicked = time.time()
        while page.url == known or "race=" not in page.url:
            page.wait_for_timeout(20)
        _watch(page, page.url.split("race=")[1].split("&")[0], clicked, shots)
        browser.close()


def _watch(page, race_id: str, clicked: float, shots: Path | None) -> None:
    from lib import race

    plan = race.read_plan(race_id)
    shown_s: dict[str, float] = {}
    written: dict[tuple[str, int], float] = {}
    lags: list[float] = []
    reruns: list[float] = []
    titles = {entry.title: entry.key for entry in plan.entries}
    is_accuracy, next_rerun = False, time.time() + 15
    while time.time() - clicked < LIMIT_S:
        now, state = time.time(), race.read_race(plan)
        _note_written(state.runs, written, now)
        rows = page.evaluate("[...document.querySelectorAll('.rl tbody tr')].map(row => row.innerText)")
        for row in rows:
            title = next((title for title in titles if row.startswith(title)), None)
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
            _shoot(page, shots, "during")
        page.wait_for_timeout(100)
    print(f"race: {race.read_race(plan).state} after {time.time() - clicked:.0f} s")
    _report("lag from the worker's line to the screen", lags)
    _report("rerun of the page, click to new picture", reruns)
    _report_pinned(plan)
    page.wait_for_timeout(3000)
    _shoot(page, shots, "after")


def _note_written(runs: dict[str, str], written: dict[tuple[str, int], float], now: float) -> None:
    """Remember when the newest epoch of each curve was first seen in its file."""
    from lib.race.curve import CURVE_FILE, read_curve
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


_RERUN_SCRIPT = """
([label, title]) => new Promise((resolve, reject) => {
  const shown = () => document.querySelector('.gtitle')?.textContent.startsWith(title);
  const buttons = [...document.querySelectorAll('.st-key-race_metric button')];
  const button = buttons.find(one => one.innerText.trim() === label);
  const started = performance.now();
  const look = () => {
    if (shown()) resolve((performance.now() - started) / 1000);
    else if (performance.now() - started > 60000) reject(new Error('the picture did not change'));
    else setTimeout(look, 5);
  };
  button.click();
  look();
})
"""


def _rerun(page, *, is_accuracy: bool) -> float:
    """Choose the other metric: the whole page runs again, and the picture gets another title. Timed in the page."""
    label, title = ("Accuracy", "Accuracy on") if is_accuracy else ("Weighted kappa", "Quadratic weighted kappa on")
    return page.evaluate(_RERUN_SCRIPT, [label, title])


def _report(what: str, seconds: list[float]) -> None:
    if len(seconds) > 1:
        p95 = statistics.quantiles(seconds, n=20)[-1]
        print(
            f"{what}: median {statistics.median(seconds):.2f} s, p95 {p95:.2f} s, max {max(seconds):.2f} s, "
            f"n = {len(seconds)}"
        )


def _report_pinned(plan) -> None:
    from lib import race
    from lib.pinned import frame_epochs, read_frame

    for standing in race.read_standings(plan):
        if standing.folder is None or not standing.is_finished:
            continue
        seconds = sum(read_frame(standing.folder, epoch).seconds for epoch in frame_epochs(standing.folder))
        total = standing.summary["seconds_total"]
        print(f"{standing.title}: {total:.1f} s, pinned images {seconds:.2f} s ({seconds / total:.1%})")


def _shoot(page, shots: Path | None, name: str) -> None:
    if shots is not None:
        shots.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=shots / f"{name}.png")


def _wait_for(url: str) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with suppress(OSError), urllib.request.urlopen(f"{url}/_stcore/health", timeout=1):  # noqa: S310
            return
        time.sleep(0.2)
    raise SystemExit(f"No server at {url}.")


if __name__ == "__main__":
    main()
