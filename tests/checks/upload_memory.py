"""What Clear on the Grade page gives back: `python -m tests.checks.upload_memory HOME [--rounds 2]`.

HOME holds a finished run with a classifier (it is not written to beyond what a dashboard writes). A real server and a
real browser: one small image is graded and cleared first, so that the network is loaded; then five images of 40 MB are
uploaded, graded and cleared, round after round. Prints the resident memory at each step and exits with status 1
if it ends more than 60 MiB above the start.
"""

import argparse
import io
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
from PIL import Image

from tests.e2e.conftest import CHROMIUM_ARGUMENTS

ROOT = Path(__file__).resolve().parents[2]
LIMIT_MIB, NUM_FILES, SIDE_PX = 60, 5, 3740
TIMEOUT_MS = 600_000


def noise(side_px: int, seed: int) -> bytes:
    """A PNG that no packing makes smaller: three bytes a pixel."""
    pixels = np.random.default_rng(seed).integers(0, 256, (side_px, side_px, 3), dtype=np.uint8)
    written = io.BytesIO()
    Image.fromarray(pixels).save(written, "PNG", compress_level=0)
    return written.getvalue()


def main() -> int:
    """Run the check; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("home", type=Path)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--port", type=int, default=0)
    options = parser.parse_args()
    with socket.create_server(("127.0.0.1", options.port)) as probe:
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.port", str(port), "--server.headless=true"]
    environment = {**os.environ, "TRANSFERSCOPE_HOME": str(options.home.resolve())}
    server = subprocess.Popen(command, cwd=ROOT, env=environment)
    try:
        return _measure(psutil.Process(server.pid), f"http://127.0.0.1:{port}", options.rounds)
    finally:
        server.terminate()
        server.wait()


def _measure(server: psutil.Process, url: str, rounds: int) -> int:
    from playwright.sync_api import sync_playwright

    while True:
        with suppress(OSError):
            urllib.request.urlopen(f"{url}/_stcore/health", timeout=2).close()  # noqa: S310
            break
        time.sleep(0.2)
    executable = os.environ.get("CHROMIUM_PATH") or shutil.which("chromium") or "/usr/bin/chromium"
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as name:
        browser = playwright.chromium.launch(executable_path=executable, args=CHROMIUM_ARGUMENTS)
        page = browser.new_page()
        page.set_default_timeout(TIMEOUT_MS)
        page.goto(f"{url}/grade_images")

        def mib() -> float:
            time.sleep(3)
            return float(server.memory_info().rss / 2**20)

        def grade_and_clear(files: list[tuple[str, bytes]]) -> float:
            paths = []
            for file, data in files:
                paths.append(Path(name, file))
                paths[-1].write_bytes(data)
            page.locator("input[type=file]").first.set_input_files(paths)
            page.get_by_text(f"{len(files)} file", exact=False).first.wait_for()
            page.get_by_text("Whoever has this address").wait_for()
            full = mib()
            page.get_by_role("button", name="Clear", exact=False).first.click()
            page.get_by_role("button", name="for good").click()
            page.get_by_role("button", name="Try the samples").wait_for()
            return full

        grade_and_clear([("small.png", noise(64, 0))])
        before = mib()
        print(f"before: {before:.0f} MiB", flush=True)
        after = before
        for number in range(rounds):
            files = [(f"{number}_{index}.png", noise(SIDE_PX, 10 * number + index)) for index in range(NUM_FILES)]
            size = sum(len(data) for _, data in files) / 2**20
            full = grade_and_clear(files)
            after = mib()
            print(f"{NUM_FILES} files, {size:.0f} MiB: {full:.0f} MiB; cleared: {after:.0f} MiB", flush=True)
        browser.close()
    print(f"{after - before:+.0f} MiB; the limit is {LIMIT_MIB} MiB.")
    return int(after - before > LIMIT_MIB)


if __name__ == "__main__":
    sys.exit(main())
