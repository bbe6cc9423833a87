import os
from pathlib import Path

import pytest

from lib import settings
from lib.errors import UserError


def test_home_follows_the_environment(home: Path):
    assert settings.home() == home
    assert settings.datasets_dir() == home / "datasets"
    assert settings.tracking_uri() == f"sqlite:///{home / 'runs' / 'mlflow.db'}"


def test_check_allowed_accepts_below_a_root_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    monkeypatch.setenv("TRANSFERSCOPE_ALLOWED_ROOTS", str(inside))
    assert settings.check_allowed(inside / "images") == inside / "images"
    with pytest.raises(UserError, match="outside the allowed folders"):
        settings.check_allowed(outside)
    with pytest.raises(UserError, match="outside the allowed folders"):
        settings.check_allowed(inside / ".." / "outside")


def test_check_allowed_follows_links_out_of_the_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    (inside / "link").symlink_to(outside)
    monkeypatch.setenv("TRANSFERSCOPE_ALLOWED_ROOTS", str(inside))
    with pytest.raises(UserError, match="outside"):
        settings.check_allowed(inside / "link")


def test_start_in_the_root_folder_does_not_open_the_machine(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir("/")
    with pytest.raises(UserError, match="outside"):
        settings.check_allowed("/etc")


def test_mlflow_telemetry_is_off():
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"


def test_an_installed_program_keeps_its_data_with_the_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.delenv("TRANSFERSCOPE_HOME", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    assert settings.home() == settings.PROJECT_ROOT / "data"  # a checkout
    monkeypatch.setattr(settings, "PROJECT_ROOT", tmp_path / "site-packages" / "transferscope")
    assert settings.home() == tmp_path / "share" / "transferscope"
