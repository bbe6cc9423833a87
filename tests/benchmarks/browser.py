"""A server of the dashboard and a real browser for benchmarks. Needs Chromium (CHROMIUM_PATH)."""

import os
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from lib.settings import DEFAULT_DATASET, PROJECT_ROOT

CHROMIUM = os.environ.get("CHROMIUM_PATH", "/usr/bin/chromium")
_CHANGE_SCRIPT = """
([find, text, isShown, argument]) => new Promise((resolve, reject) => {
  const shown = eval(isShown);
  const button = [...document.querySelectorAll(find)].find(one => one.innerText.includes(text));
  const started = performance.now();
  const look = () => {
    if (shown(argument)) resolve((performance.now() - started) / 1000);
    else if (performance.now() - started > 60000) reject(new Error('the page did not change'));
    else setTimeout(look, 5);
  };
  button.click();
  look();
})
"""


@contextmanager
def train_page(home: Path, port: int) -> Iterator[Any]:
    """The train page of the default data set in a browser, on a server of its own."""
    from playwright.sync_api import sync_playwright

    command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.port", str(port)]
    server = subprocess.Popen(
        [*command, "--server.headless", "true"],
        cwd=PROJECT_ROOT,
        env={**os.environ, "TRANSFERSCOPE_HOME": str(home)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        wait_for_server(url)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 1280, "height": 1400})
            page.goto(f"{url}/train_model?dataset={DEFAULT_DATASET}")
            yield page
            browser.close()
    finally:
        server.terminate()
        server.wait(20)


def time_click(page: Any, find: str, text: str, is_shown: str, argument: str) -> float:
    """Seconds from a click to its effect, timed inside the page.

    Args:
        page: of the browser.
        find: CSS selector of buttons.
        text: what the one to click says.
        is_shown: JavaScript function of `argument` that tells whether the effect is there.
        argument: for it.
    """
    return float(page.evaluate(_CHANGE_SCRIPT, [find, text, is_shown, argument]))


def report(what: str, seconds: list[float]) -> None:
    """Print median, 95th percentile and maximum."""
    if len(seconds) > 1:
        p95 = statistics.quantiles(seconds, n=20)[-1]
        print(
            f"{what}: median {statistics.median(seconds):.2f} s, p95 {p95:.2f} s, max {max(seconds):.2f} s, "
            f"n = {len(seconds)}"
        )


def shoot(page: Any, folder: Path | None, name: str) -> None:
    """A screenshot, if there is a folder for it."""
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=folder / f"{name}.png")


def wait_for_server(url: str) -> None:
    """Return when a server answers; ends the benchmark where none does within a minute."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with suppress(OSError), urllib.request.urlopen(f"{url}/_stcore/health", timeout=1):  # noqa: S310
            return
        time.sleep(0.2)
    raise SystemExit(f"No server at {url}.")
