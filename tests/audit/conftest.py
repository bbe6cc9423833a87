import shutil
from functools import cache
from pathlib import Path

import pytest

from lib.audit.auditing import AuditQuestion, audit
from lib.data.importing import import_folder
from lib.data.library import open_dataset
from tests.audit.planted import write_planted
from tests.kept_home import made_once

BACKBONE = "bundled_vgg"


@cache
def audited_home(*, with_problems: bool) -> Path:
    """A home that holds the set "kinds", audited once for all tests."""

    def make(folder: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("lib.precision.choose_dtype", lambda *_: ("float32", ""))  # its trial takes a second
            patch.setattr("lib.audit.shortcuts._NUM_TREES", 8)
            photos = write_planted(folder / "photos", with_problems=with_problems)
            audit(AuditQuestion(import_folder(photos, name="kinds"), 0, BACKBONE))

    return made_once("audited" if with_problems else "audited-untouched", make) / "home"


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr("lib.precision.choose_dtype", lambda *_: ("float32", ""))
    monkeypatch.setattr("lib.audit.shortcuts._NUM_TREES", 8)


@pytest.fixture
def planted(home):
    """The set with problems, and its kept report."""
    shutil.copytree(audited_home(with_problems=True), home)
    dataset = open_dataset("kinds")
    return dataset, AuditQuestion(dataset, 0, BACKBONE).read()


@pytest.fixture
def untouched(home):
    """The set without problems, and its kept report."""
    shutil.copytree(audited_home(with_problems=False), home)
    dataset = open_dataset("kinds")
    return dataset, AuditQuestion(dataset, 0, BACKBONE).read()
