"""A fresh server with a home of its own for each test, and a real Chromium that cannot leave this machine."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import psutil
import pytest
from PIL import Image, ImageDraw

from lib.settings import PROJECT_ROOT

START_TIMEOUT_S = 60
IDLE_TIMEOUT_S = 30
PAGE_TIMEOUT_MS = 90_000  # a cold server on a busy machine imports for a while
LOOPBACK = {"127.0.0.1", "localhost", "::1"}
# What Chromium would do on its own account; the resolver rule ends whatever is left.
CHROMIUM_ARGUMENTS = [
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-breakpad",
    "--disable-client-side-phishing-detection",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-domain-reliability",
    "--disable-sync",
    "--metrics-recording-only",
    "--no-first-run",
    "--no-pings",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]
COLORS = {"blue_triangle": (40, 70, 200), "green_square": (40, 160, 60), "red_circle": (200, 50, 40)}


@dataclass(frozen=True)
class Server:
    """A running dashboard."""

    url: str
    home: Path
    log_file: Path

    def link(self, page: str = "", **query: str) -> str:
        """The address of a page."""
        text = "&".join(f"{key}={value}" for key, value in query.items())
        return f"{self.url}/{page}" + (f"?{text}" if text else "")

    @property
    def log(self) -> str:
        """Everything the server has printed."""
        return self.log_file.read_text("utf-8", errors="replace")


def draw_shape(name: str, seed: int, size_px: int = 64) -> Image.Image:
    """One coloured shape on a noisy grey ground."""
    generator = np.random.default_rng(seed)
    image = Image.fromarray(generator.integers(90, 160, (size_px, size_px, 3), dtype=np.uint8))
    left, top, side = *generator.integers(4, 20, 2), int(generator.integers(24, 38))
    box = (int(left), int(top), int(left) + side, int(top) + side)
    pen = ImageDraw.Draw(image)
    if "circle" in name:
        pen.ellipse(box, fill=COLORS[name])
    elif "square" in name:
        pen.rectangle(box, fill=COLORS[name])
    else:
        pen.polygon([(box[0], box[3]), (box[2], box[3]), ((box[0] + box[2]) / 2, box[1])], fill=COLORS[name])
    return image


@pytest.fixture
def shapes(tmp_path: Path) -> Path:
    """A folder of three classes with twelve images each."""
    for class_index, name in enumerate(sorted(COLORS)):
        folder = tmp_path / "shapes" / name
        folder.mkdir(parents=True)
        for index in range(12):
            draw_shape(name, 100 * class_index + index).save(folder / f"{index:02d}.png")
    return tmp_path / "shapes"


@pytest.fixture
def server(home: Path, tmp_path: Path) -> Iterator[Server]:
    """A dashboard that nobody has talked to yet; fails the test if its log holds anything but the greeting."""
    home.mkdir(parents=True, exist_ok=True)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    running = Server(f"http://127.0.0.1:{port}", home, tmp_path / "server.log")
    environment = {**os.environ, "TRANSFERSCOPE_ALLOWED_ROOTS": str(tmp_path), "OMP_NUM_THREADS": "2"}
    command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.port", str(port)]
    with running.log_file.open("wb") as log:
        process = subprocess.Popen(command, cwd=PROJECT_ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT)
    try:
        _wait_until_healthy(running, process)
        yield running
    finally:
        _end(process, home)
    assert_quiet(running.log)


def assert_quiet(log: str) -> None:
    """No traceback, warning or error in a server's log."""
    words = ("traceback", "warning", "error", "exception", "could not", "no report")
    loud = [line for line in log.splitlines() if any(word in line.lower() for word in words)]
    assert not loud, f"the server's log is not quiet:\n{log[-6000:]}"


def _wait_until_healthy(server: Server, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        assert process.poll() is None, f"the server ended:\n{server.log}"
        with suppress(urllib.error.URLError, ConnectionError, TimeoutError):
            urllib.request.urlopen(f"{server.url}/_stcore/health", timeout=2).close()  # noqa: S310
            return
        time.sleep(0.1)
    raise AssertionError(f"the server did not start in {START_TIMEOUT_S} s:\n{server.log}")


def _end(process: subprocess.Popen[bytes], home: Path) -> None:
    """End the server, and workers that outlive it by design: those whose home is this test's.

    It is left to finish what it computes: a thread that is inside of torch when Python ends takes the process down with
    "terminate called without an active exception".
    """
    with suppress(psutil.Error):
        watched, deadline = psutil.Process(process.pid), time.monotonic() + IDLE_TIMEOUT_S
        while watched.cpu_percent(interval=1.0) > 10 and time.monotonic() < deadline:
            pass
    process.terminate()
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for other in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if other.environ().get("TRANSFERSCOPE_HOME") == str(home) and other.pid != os.getpid():
                other.kill()


@pytest.fixture(scope="session")
def browser() -> Iterator["playwright.sync_api.Browser"]:  # noqa: F821
    """Chromium, without a window."""
    sync_api = pytest.importorskip("playwright.sync_api")
    sync_api.expect.set_options(timeout=PAGE_TIMEOUT_MS)
    executable = os.environ.get("CHROMIUM_PATH") or shutil.which("chromium") or "/usr/bin/chromium"
    if not Path(executable).exists():
        pytest.fail(f"No Chromium at {executable}; install it or set CHROMIUM_PATH.")
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=executable, args=CHROMIUM_ARGUMENTS)
        yield opened
        opened.close()


@pytest.fixture
def context(browser) -> Iterator["playwright.sync_api.BrowserContext"]:  # noqa: F821
    """A browser of one person; any request that would leave this machine is refused and fails the test."""
    opened = browser.new_context(viewport={"width": 1280, "height": 720})
    opened.set_default_timeout(PAGE_TIMEOUT_MS)
    refused: list[str] = []

    def judge(route) -> None:
        url = urlsplit(route.request.url)
        if url.scheme in {"data", "blob"} or url.hostname in LOOPBACK:
            route.continue_()
        else:
            refused.append(route.request.url)
            route.abort()

    opened.route("**/*", judge)
    yield opened
    opened.close()
    assert not refused, f"requests that would leave this machine: {sorted(set(refused))}"


@pytest.fixture
def page(context) -> "playwright.sync_api.Page":  # noqa: F821
    """One tab."""
    return context.new_page()
