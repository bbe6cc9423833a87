"""Grading from a bundle calls nobody and leaves nothing behind but the report that it was asked for."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from lib import tracking
from lib.settings import PROJECT_ROOT

# Python runs a module of this name first, in every process that inherits the path: decoders too.
_WATCH = """
import os, sys

def watch(event, arguments):
    if event in ("socket.connect", "socket.sendto"):
        where = arguments[1]
        if not isinstance(where, tuple) or where[0] in ("127.0.0.1", "::1", "localhost"):
            return
    elif event == "socket.getaddrinfo":
        where = arguments[0]
        if where in (None, "", "127.0.0.1", "::1", "localhost"):
            return
    else:
        return
    with open(os.environ["WATCHED"], "a", encoding="utf-8") as opened:
        print(event, where, file=opened)

sys.addaudithook(watch)
with open(os.environ["WATCHED"], "a", encoding="utf-8") as opened:
    print("watching", file=opened)
"""


def run_watched(folder: Path, *arguments: object) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """What Python did with the arguments, and which addresses beyond this machine it turned to."""
    (folder / "hook").mkdir(exist_ok=True)
    (folder / "hook" / "sitecustomize.py").write_text(_WATCH)
    log = folder / "watched.txt"
    log.unlink(missing_ok=True)
    path = os.pathsep.join([str(folder / "hook"), str(PROJECT_ROOT)])
    environment = os.environ | {"PYTHONPATH": path, "WATCHED": str(log), "TRANSFERSCOPE_HOME": str(folder / "home")}
    command = [sys.executable, *map(str, arguments)]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=240
    )  # fmt: skip
    lines = log.read_text().splitlines()
    assert "watching" in lines
    return done, [line for line in lines if line != "watching"]


def test_the_watch_sees_a_connection(tmp_path):
    # A datagram socket's connect sends nothing; the address is kept for documents and belongs to nobody.
    code = "import socket; socket.socket(type=socket.SOCK_DGRAM).connect(('192.0.2.1', 9))"
    _, seen = run_watched(tmp_path, "-c", code)
    assert seen == ["socket.connect ('192.0.2.1', 9)"]
    with socket.create_server(("127.0.0.1", 0)) as server:
        code = f"import socket; socket.create_connection(('127.0.0.1', {server.getsockname()[1]}))"
        assert run_watched(tmp_path, "-c", code)[1] == []


@pytest.mark.slow
def test_a_bundle_grades_without_any_connection_and_leaves_the_report_alone(command, trained, tmp_path):
    bundle = tmp_path / "bundle.zip"
    run_id = next(run.run_id for run in tracking.list_runs() if "Linear" in run.label)
    assert command("export", "--run", run_id, "--out", bundle).status == 0
    home = tmp_path / "home"
    home.mkdir()
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    image = trained / "colours" / "cold" / "3.png"

    done, seen = run_watched(tmp_path, "-m", "lib", "grade", image, "--run", bundle, "--out", tmp_path / "report.html")

    assert done.returncode == 0, done.stderr
    assert "cold" in done.stdout
    assert seen == []
    written = {path for path in tmp_path.rglob("*") if path.is_file() and "hook" not in path.parts} - before
    assert {path.name for path in written} == {"report.html", "watched.txt"}
    # The home gets its usual empty folders, and no file.
    assert [path for path in home.rglob("*") if not path.is_dir()] == []
