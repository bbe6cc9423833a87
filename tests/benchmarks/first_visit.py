"""From the first click on a fresh machine to a populated page, for each page, beside an empty page of Streamlit.

Each page gets a server of its own over an empty home, so that each pays for unpacking the demo and for its imports.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from lib.settings import PROJECT_ROOT
from pages.common.page_table import PAGES
from tests.benchmarks.browser import CHROMIUM, wait_for_server

_PORT = 8931
_LIMIT_MS = 120_000
_IS_READY = """() => {
  const app = document.querySelector('[data-testid="stApp"]');
  return app && app.getAttribute('data-test-script-state') === 'notRunning'
    && document.querySelector(SELECTOR) && !document.querySelector('[data-testid="stSkeleton"]');
}"""
# What stands on a page only once it has something to show.
_MARKS = {
    "start": '[class*="st-key-demo_offer"]',
    "explore_data": "img[alt], [data-testid='stImage'] img, figure img",
    "look_inside": "img[alt], [data-testid='stImage'] img, figure img",
    "train_model": ".tl-facts",
    "compare_runs": "[data-testid='stDataFrame']",
    "grade_images": '[class*="st-key-grade_samples"]',
}


def bench_first_visit() -> None:
    """Print seconds for each page; one line if there is no browser to measure with."""
    if not Path(CHROMIUM).is_file():
        print(f"First visits: not measured, there is no Chromium at {CHROMIUM} (CHROMIUM_PATH).")
        return
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        empty = Path(folder) / "empty.py"
        empty.write_text("import streamlit\nstreamlit.markdown('Nothing.')\n")
        print("From the first click on an empty home to a populated page (the server runs already):")
        print(f"  {'an empty page of Streamlit':<28} {_seconds(browser, empty, '', '.stMarkdown'):6.1f} s")
        for page in PAGES:
            taken = _seconds(browser, PROJECT_ROOT / "app.py", page.name, _MARKS[page.name])
            print(f"  {page.title:<28} {taken:6.1f} s", flush=True)
        browser.close()


def _seconds(browser: Any, script: Path, page: str, mark: str) -> float:
    with tempfile.TemporaryDirectory() as home:
        command = [sys.executable, "-m", "streamlit", "run", str(script), "--server.port", str(_PORT)]
        server = subprocess.Popen(
            [*command, "--server.headless", "true"],
            cwd=PROJECT_ROOT, env={**os.environ, "TRANSFERSCOPE_HOME": home},
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            wait_for_server(f"http://127.0.0.1:{_PORT}")
            tab = browser.new_page(viewport={"width": 1280, "height": 720})
            started = time.perf_counter()
            tab.goto(f"http://127.0.0.1:{_PORT}/{page}")
            tab.wait_for_function(_IS_READY.replace("SELECTOR", repr(mark)), timeout=_LIMIT_MS)
            seconds = time.perf_counter() - started
            tab.close()
            return seconds
        finally:
            server.terminate()
            server.wait(20)


if __name__ == "__main__":
    bench_first_visit()
