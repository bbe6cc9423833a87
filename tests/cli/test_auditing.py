"""`datasets audit` by name and by folder, as text, JSON and CSV; bad input in one line."""

import csv
import json
import shutil

import pytest

from tests.audit.conftest import BACKBONE, audited_home


@pytest.fixture
def kinds(home):
    shutil.copytree(audited_home(with_problems=True), home)
    return home.parent


def test_a_kept_audit_is_told_and_written(command, kinds, tmp_path):
    out = tmp_path / "report.csv"
    told = command("datasets", "audit", "kinds", "--backbone", BACKBONE, "--out", out)
    assert told.status == 0
    assert "To fix before training: the same picture in two classes (1), the same picture in two parts (3)" in told.out
    assert "The same picture in two parts (3): What training learned by heart" in told.out
    assert "check" in told.out
    with out.open() as opened:
        rows = list(csv.DictReader(opened))
    assert len(rows) == int(told.err.split(" findings written")[0].split()[-1])
    assert {"kind", "severity", "image_ids", "score", "sentence", "action"} <= set(rows[0])
    said = json.loads(command("datasets", "audit", "kinds", "--backbone", BACKBONE, "--json").out.splitlines()[-1])
    assert len(said["findings"]) == len(rows)
    assert said["summary"] in told.out


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("nowhere",), "nowhere"),
        (("kinds", "--backbone", "nonet"), "Unknown backbone 'nonet'"),
        (("kinds", "--out", "/no/such/folder/a.csv"), "does not exist"),
        (("",), "No data set was given"),
    ],
)
def test_bad_input_is_one_line_and_status_2(command, kinds, arguments, line):
    told = command("datasets", "audit", *arguments)
    assert told.status == 2
    assert line in told.err
    assert len(told.err.strip().splitlines()) == 1
