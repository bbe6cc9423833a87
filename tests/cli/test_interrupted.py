import json
import os
import signal
from pathlib import Path

import pytest

from lib.cli import run
from lib.data.importing import import_folder
from lib.data.library import open_dataset
from lib.errors import Stopped
from tests.data.folders import write_classes


@pytest.fixture
def stopped(tmp_path: Path) -> Path:
    """A folder whose import was stopped at 90 of 100 images."""
    folder = write_classes(tmp_path / "pets", {"cat": 50, "dog": 50})

    def stop(done: int, total: int, what: str) -> None:
        if (done, what) == (90, "decoding images"):
            raise Stopped

    with pytest.raises(Stopped):
        import_folder(folder, progress=stop)
    return folder


def test_interrupted_imports_are_listed_continued_and_dropped(stopped: Path, capsys: pytest.CaptureFixture[str]):
    assert run(["datasets", "interrupted", "--json"]) == 0
    (one,) = json.loads(capsys.readouterr().out)["interrupted"]
    assert (one["name"], one["num_stored"], one["num_files"], one["source"]) == ("pets", 64, 100, str(stopped))
    assert run(["datasets", "interrupted"]) == 0
    assert "64 of 100" in capsys.readouterr().out
    assert run(["datasets", "interrupted", "--continue", one["key"]]) == 0
    assert "Imported pets: 100 images." in capsys.readouterr().out
    assert open_dataset("pets").num_images == 100
    assert run(["datasets", "interrupted", "--drop", one["key"]]) == 2
    assert "There is no interrupted import" in capsys.readouterr().err
    assert run(["datasets", "interrupted"]) == 0
    assert "No import was interrupted." in capsys.readouterr().err


def test_dropping_sets_the_space_free(stopped: Path, capsys: pytest.CaptureFixture[str]):
    run(["datasets", "interrupted", "--json"])
    (one,) = json.loads(capsys.readouterr().out)["interrupted"]
    assert run(["datasets", "interrupted", "--drop", one["key"], "--continue", one["key"]]) == 2
    assert run(["datasets", "interrupted", "--drop", one["key"]]) == 0
    assert "Removed what the import of pets had stored" in capsys.readouterr().out


def test_an_import_ended_by_the_keyboard_says_what_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    folder = write_classes(tmp_path / "pets", {"cat": 50, "dog": 50})

    def report(_line: object, done: int, _total: int, what: str) -> None:
        if (done, what) == (90, "decoding images"):
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr("lib.cli.output.ProgressLine.__call__", report)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job has it ignored
    try:
        assert run(["datasets", "import", str(folder)]) == 130
    finally:
        signal.signal(signal.SIGINT, before)
    said = capsys.readouterr().err
    assert "64 of 100 images are stored" in said
    assert "the same command again goes on from there" in said
