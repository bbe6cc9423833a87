import importlib.metadata
import subprocess
from pathlib import Path

import pytest

from lib.tracking import code_version as module
from lib.tracking.code_version import code_version


@pytest.fixture(autouse=True)
def asked_anew():
    code_version.cache_clear()
    yield
    code_version.cache_clear()


def test_a_program_without_a_repository_of_its_own_says_its_version(monkeypatch, tmp_path: Path):
    """Also where the folder around the installation is somebody's repository."""
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    monkeypatch.setattr(module, "PROJECT_ROOT", tmp_path / "env" / "transferscope")
    monkeypatch.setattr(importlib.metadata, "version", lambda name: f"{name} 0.1.0")
    assert code_version() == "transferscope 0.1.0"


def test_neither_installed_nor_a_repository(monkeypatch, tmp_path: Path):
    def unknown(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(module, "PROJECT_ROOT", tmp_path)
    monkeypatch.setattr(importlib.metadata, "version", unknown)
    assert code_version() == ""
