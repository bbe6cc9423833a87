"""Damaged databases, disks that are full or may not be written: a named file, one sentence, and nothing lost."""

import errno
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from lib import cli, jobs, tracking
from lib.errors import DiskFull, UserError, disk_fault, is_disk_full
from lib.jobs import queue
from lib.jobs.worker import describe_failure
from lib.settings import runs_dir
from lib.tracking import records, writer
from lib.tracking.repair import is_damaged
from lib.tracking.store import repair_store
from tests.run_store import make_run_store

CONFIG = {"dataset": "cats_dogs", "backbone": "mobilenet_v2", "strategy": "linear_probe", "dataset_version": "v1"}


def make_runs() -> list[str]:
    """A finished run with a curve, a stopped one, and a deleted one."""
    make_run_store()
    run_ids = []
    for name in ("first", "second", "third"):
        run = tracking.create_run(CONFIG, name=name)
        run.set_tags({"group_id": "g1"})
        run.log_metrics({"val_loss": 0.5}, step=1)
        if name == "first":
            run.log_summary({"test_accuracy": 0.75})
        run.finish("finished" if name == "first" else "stopped", "", "" if name == "first" else "stopped")
        run_ids.append(run.run_id)
    tracking.delete_run(run_ids[2])
    return run_ids


def damage(path: Path, kind: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    content = bytearray(path.read_bytes())
    if kind == "header":
        content[:100] = b"x" * 100
    elif kind == "cut off":
        content = content[: len(content) // 3]
    else:
        content[4096:] = b"\x55" * (len(content) - 4096)
    path.unlink()
    path.write_bytes(content)
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


@pytest.mark.parametrize("kind", ["header", "cut off", "overwritten"])
def test_a_damaged_store_is_named_and_made_anew_from_the_folders_on_request(kind, capsys):
    first, second, third = make_runs()
    path = runs_dir() / "mlflow.db"
    damage(path, kind)
    content = path.read_bytes()
    for arguments in (
        ["runs", "list"],
        ["runs", "show", "latest"],
        ["runs", "rename", first, "x"],
        ["export", "--run", first, "--out", "b.zip"],
    ):
        assert cli.run(arguments) == 2
        said = capsys.readouterr().err
        assert f"The database {path} is damaged" in said
        assert "python -m lib runs repair" in said
        assert said.count("\n") == 1
    assert path.read_bytes() == content  # nobody touched it

    assert cli.run(["runs", "repair"]) == 0
    assert "3 runs were entered anew" in capsys.readouterr().out
    (aside,) = runs_dir().glob("mlflow.db.damaged-*")
    assert aside.read_bytes() == content
    found = {run.run_id: run for run in tracking.list_runs()}
    assert set(found) == {first, second}
    assert (found[first].label, found[first].state, found[first].metrics["test_accuracy"]) == (
        "first",
        "finished",
        0.75,
    )
    assert (found[first].config, found[second].is_resumable) == (CONFIG, True)
    if kind == "cut off":
        assert not is_damaged(path)
    tracking.restore_run(third)
    assert tracking.get_run(third).label == "third"
    assert repair_store() == [f"{path} is whole."]


def test_curves_and_tags_that_a_damaged_store_still_gives_are_kept(monkeypatch):
    first, *_ = make_runs()
    monkeypatch.setattr("lib.tracking.store.is_damaged", lambda path: True)
    repair_store()
    assert tracking.get_run(first).tags["group_id"] == "g1"
    history = tracking.metric_history(first, ["val_loss"])
    assert history[["step", "value"]].to_numpy().tolist() == [[1, 0.5]]


def test_a_damaged_queue_is_named_on_every_command_that_asks_it(capsys):
    make_runs()
    run = tracking.create_run(CONFIG)
    queue.enqueue(run.run_id)
    path = runs_dir() / "jobs.sqlite"
    path.write_bytes(b"no database" * 1000)
    for arguments in (["runs", "list"], ["runs", "resume", run.run_id]):
        assert cli.run(arguments) == 2
        assert f"The database {path} is damaged" in capsys.readouterr().err
    with pytest.raises(UserError, match=r"jobs\.sqlite is damaged"):
        jobs.active_runs()
    assert cli.run(["runs", "repair"]) == 2  # a training may be at work
    assert "wait for them, or stop them first" in capsys.readouterr().err
    run.finish("stopped")
    assert cli.run(["runs", "repair"]) == 0
    assert "the queue begins anew" in capsys.readouterr().out
    assert jobs.active_runs() == []
    assert len(list(runs_dir().glob("jobs.sqlite.damaged-*"))) == 1


def test_a_new_file_in_place_of_the_old_is_seen_by_a_process_that_had_it_open():
    """As a dashboard that goes on while somebody repairs the store."""
    make_runs()
    assert len(tracking.list_runs()) == 2
    path = runs_dir() / "mlflow.db"
    path.rename(path.with_name("aside"))
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    make_run_store()
    assert tracking.list_runs() == []
    assert tracking.create_run(CONFIG).run_id in {run.run_id for run in tracking.list_runs()}


@pytest.fixture
def full_disk(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home on a disk of its own without a free block; where nothing may be mounted, files that cannot be written."""
    home.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(home)]
    is_mounted = subprocess.run(command, capture_output=True).returncode == 0
    make_runs()

    def fail(path, *arguments, **options):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    if is_mounted:
        with (home / "filler").open("wb", buffering=0) as filler:
            try:
                while True:
                    filler.write(b"\0" * 4096)
            except OSError as error:
                assert error.errno == errno.ENOSPC
    else:
        monkeypatch.setattr(writer, "write_json", fail)
    yield home
    tracking.store._clients.clear()
    if is_mounted:
        subprocess.run(["umount", "-l", str(home)], check=True)


def test_a_full_disk_while_a_run_is_created_leaves_no_half_run(full_disk):
    before = {run.run_id for run in tracking.list_runs()}
    with pytest.raises(
        DiskFull, match=rf"The disk is full: {runs_dir()}/.* could not be written. Free some space"
    ) as raised:
        for _ in range(20):  # SQLite may have room left in its file
            tracking.create_run(CONFIG)
    assert "\n" not in str(raised.value)
    (full_disk / "filler").unlink(missing_ok=True)
    left = [run for run in tracking.list_runs() if run.run_id not in before]
    assert all(run.folder.is_dir() and (run.folder / "config.json").is_file() for run in left)


def test_a_run_whose_place_in_the_queue_cannot_be_written_is_taken_back(monkeypatch, home):
    make_runs()
    run = tracking.create_run(CONFIG)

    def fail(run_id: str) -> None:
        raise DiskFull("The disk is full: jobs.sqlite could not be written.")

    monkeypatch.setattr(queue, "enqueue", fail)
    monkeypatch.setattr(jobs.control, "create_run", lambda *arguments, **options: run)
    monkeypatch.setattr("lib.data.library.open_dataset", lambda name: None)
    monkeypatch.setattr("lib.experiment.resolve_start", lambda config, dataset: config)
    config = type("Config", (), {"weights": "random", "dataset": "d", "to_dict": dict})()
    with pytest.raises(DiskFull):
        jobs.prepare(config, name="n")
    assert run.run_id not in {found.run_id for found in tracking.list_runs()}
    assert not run.folder.exists()


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            PermissionError(errno.EACCES, "Permission denied", "/home/x/runs"),
            "/home/x/runs cannot be written or opened",
        ),
        (OSError(errno.EROFS, "Read-only file system", "/home/x/a"), "read-only for this user"),
        (OSError(errno.ENOSPC, "No space left on device", "/home/x/a"), "The disk is full: /home/x/a could not"),
        (sqlite3.OperationalError("attempt to write a readonly database"), "read-only for this user"),
        (sqlite3.OperationalError("database or disk is full"), "The disk is full"),
    ],
)
def test_what_the_disk_says_is_a_sentence_with_a_name(error, words, monkeypatch, capsys):
    wrapped = RuntimeError("wrapped")
    wrapped.__cause__ = error
    assert words in str(disk_fault(wrapped))
    assert describe_failure(wrapped)[0] == ("disk_full" if is_disk_full(error) else "refused")
    monkeypatch.setattr(records, "client", lambda: (_ for _ in ()).throw(error))
    make_run_store()
    assert cli.run(["runs", "list"]) == 2
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1
    assert disk_fault(ValueError("something else")) is None


def test_nobody_waits_for_a_damaged_store():
    make_runs()
    damage(runs_dir() / "mlflow.db", "header")
    tracking.store._clients.clear()
    answers = []

    def ask() -> None:
        try:
            tracking.list_runs()
        except UserError as error:
            answers.append(str(error))

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(60)
    assert len(answers) == 1
