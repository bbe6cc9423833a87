"""`run` hands over to Streamlit, with its own options behind `--`."""

import os
import sys

import pytest

from lib.cli import run
from lib.settings import PROJECT_ROOT


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        (["run"], ["--server.port", "8501"]),
        (["run", "--port", "8600"], ["--server.port", "8600"]),
        (["run", "--", "--server.address", "::1"], ["--server.port", "8501", "--server.address", "::1"]),
    ],
)
def test_run_becomes_streamlit(monkeypatch: pytest.MonkeyPatch, arguments: list[str], options: list[str]) -> None:
    became: list[tuple[str, list[str]]] = []
    monkeypatch.setattr(os, "execv", lambda program, command: became.append((program, command)))
    assert run(arguments) == 0
    app = str(PROJECT_ROOT / "app.py")
    assert became == [(sys.executable, [sys.executable, "-m", "streamlit", "run", app, *options])]


def test_an_impossible_port_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["run", "--port", "0"]) == 2
    assert "1<=x<=65535" in capsys.readouterr().err
