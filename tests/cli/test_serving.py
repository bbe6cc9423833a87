"""`serve` says in one sentence why it does not start, and a started one answers, keeps no names and ends by Ctrl+C."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest

from lib import tracking
from lib.settings import PROJECT_ROOT
from tests.grading.squares import png

TOKEN = "a-token-of-the-tests"


def _run_id():
    return next(run.run_id for run in tracking.list_runs() if "Linear" in run.label)


@pytest.fixture
def port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def test_what_cannot_be_served_is_explained(command, trained, tmp_path, port):
    from lib.models.bundles import export_bundle

    newer = tmp_path / "newer.zip"
    folder = tracking.get_run(_run_id()).folder / "bundle"
    export_bundle(folder, tmp_path / "bundle.zip")
    _rewrite_manifest(tmp_path / "bundle.zip", newer, {"format_version": 99})
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        for arguments, expected in (
            (["--run", _run_id(), "--port", taken], "cannot listen on 127.0.0.1"),
            (["--run", "zz", "--port", port], "There is no run 'zz'"),
            (["--run", newer, "--port", port], "This bundle has format 99"),
            (["--run", _run_id(), "--port", port, "--token", "short"], "A token has at least 16"),
            (["--run", _run_id(), "--port", port, "--host", "256.1.1.1"], "There is no address '256.1.1.1'"),
        ):
            answer = command("serve", *arguments)
            assert (answer.status, answer.err.count("\n")) == (2, 1), answer.err
            assert expected in answer.err


def _rewrite_manifest(bundle, target, changes):
    import zipfile

    with zipfile.ZipFile(bundle) as old, zipfile.ZipFile(target, "w") as new:
        for member in old.infolist():
            content = old.read(member)
            if member.filename.endswith("manifest.json"):
                content = json.dumps(json.loads(content) | changes).encode()
            new.writestr(member, content)


def _ask(port, path, body=None, headers=()):
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data=body, headers=dict(headers))
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310  (of this machine)
        return json.load(answer)


@pytest.mark.slow
def test_a_started_service_answers_as_the_command_line_and_ends_by_ctrl_c(command, trained, tmp_path, port):
    image = tmp_path / "secret name.png"
    image.write_bytes(png("red", 3))
    said = command("grade", image, "--run", _run_id(), "--json")
    expected = json.loads(said.out.splitlines()[-1])["images"][0]
    log = (tmp_path / "log").open("w+b")
    process = subprocess.Popen(
        [sys.executable, "-m", "lib", "serve", "--run", _run_id(), "--port", str(port)],
        cwd=PROJECT_ROOT, env=os.environ | {"TRANSFERSCOPE_SERVICE_TOKEN": TOKEN}, stdout=log, stderr=log,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                if _ask(port, "/ready")["status"] == "ready":
                    break
            except (OSError, urllib.error.URLError):
                pass
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        part = b'--b\r\nContent-Disposition: form-data; name="file"; filename="secret name.png"\r\n\r\n'
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "multipart/form-data; boundary=b"}
        found = _ask(port, "/grade", part + image.read_bytes() + b"\r\n--b--\r\n", headers)["image"]
        assert found["status"] == expected["status"]
        assert found["probabilities"] == pytest.approx(expected["probabilities"], abs=1e-6)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
    log.seek(0)
    text = log.read().decode()
    assert text.rstrip().endswith("Ended.")
    assert "secret" not in text
    assert TOKEN not in text
    assert "Traceback" not in text
