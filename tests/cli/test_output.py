import json
import math
from types import SimpleNamespace

import numpy as np

from lib.cli import output
from lib.cli.output import ProgressLine, print_facts, print_json, print_table
from lib.progress import InBytes
from lib.training.events import EpochEnded


def test_json_is_one_line_without_what_json_cannot_hold(capsys):
    print_json({"kappa": math.nan, "accuracy": np.float32(0.5), "counts": [np.int64(3), math.inf], "name": "a\nb"})
    said = capsys.readouterr().out
    assert said.count("\n") == 1
    assert json.loads(said) == {"kappa": None, "accuracy": 0.5, "counts": [3, None], "name": "a\nb"}


def test_tables_align_and_stay_on_one_line_a_row(capsys):
    print_table([("a", 0.98765, True), ("long\nname", None, False)], ("name", "accuracy", "ok"))
    print_facts({"accuracy": 0.5, "message": ""})
    assert capsys.readouterr().out == (
        "name       accuracy  ok\na          0.988     yes\nlong name  -         no\naccuracy  0.500\nmessage\n"
    )


def test_quick_work_reports_nothing_to_a_file(capsys):
    with ProgressLine() as progress:
        progress(1, 2, "Importing")
    assert capsys.readouterr().err == ""


def test_long_work_reports_now_and_then_to_a_file(capsys, monkeypatch):
    clock = iter([0.0, 1.0, 3.0, 4.0, 8.5])
    monkeypatch.setattr(output, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    with ProgressLine() as progress:
        for done in range(4):
            progress(done, 4, "Importing")
        progress.listen(EpochEnded(1, 2, {"train_loss": 1.0}))
    assert capsys.readouterr().err == "Importing 1/4\nImporting 3/4\nepoch 1/2  train_loss 1.0000\n"


def test_bytes_are_said_as_sizes(capsys, monkeypatch):
    clock = iter([0.0, 3.0])
    monkeypatch.setattr(output, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    with ProgressLine() as progress:
        progress(3 * 2**30 // 2, 4_996_278_331, InBytes("Downloading food-101.tar.gz"))
    assert capsys.readouterr().err == "Downloading food-101.tar.gz 1.5 GiB of 4.7 GiB\n"


def test_a_terminal_has_one_line_that_is_cleared(capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    progress = ProgressLine()
    progress._next_s = 0.0
    with progress:
        progress(1, 2, "Importing")
    assert capsys.readouterr().err == "\r\x1b[2KImporting 1/2\r\x1b[2K"
