import json

import pandas as pd
import pytest

from lib.data.importing import import_folder
from lib.models.backbones import BACKBONES
from tests.cli.conftest import write_classes

LAST = BACKBONES.get("bundled_vgg").stages[-1].name


@pytest.fixture
def two(tmp_path):
    import_folder(write_classes(tmp_path / "two", ("warm", "cold")), name="two")


@pytest.mark.slow
def test_one_stage_as_table_picture_and_page(two, command, tmp_path):
    asked = ("datasets", "map", "two", "--backbone", "bundled_vgg", "--stage", LAST)
    answer = command(*asked, "--out", tmp_path / "map.csv")
    assert answer.status == 0, answer.err
    assert " ".join(answer.out.splitlines()[0].split()).startswith("stage name features same class 95 %")
    table = pd.read_csv(tmp_path / "map.csv")
    assert list(table.columns) == ["image_id", "path", "class", "split", f"{LAST}_x", f"{LAST}_y"]
    assert len(table) == 10
    for name, start in (("map.png", b"\x89PNG"), ("map.html", b"<!doctype html>")):
        assert command(*asked, "--out", tmp_path / name, "--colour", "split").status == 0
        assert (tmp_path / name).read_bytes().startswith(start)
    content = json.loads(command(*asked, "--json").out.splitlines()[-1])
    assert (content["num_images"], content["num_of"], len(content["stages"])) == (10, 10, 1)
    assert content["stages"][0]["low"] <= content["stages"][0]["purity"] <= content["stages"][0]["high"]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--out", "map.pdf"), "--out ends with one of .csv, .html, .png"),
        (("--out", "nowhere/map.csv"), "does not exist"),
        (("--stage", "tail"), "has no stage 'tail'"),
        (("--colour", "error", "--stage", LAST, "--out", "map.png"), "give it by --run ID"),
        (("--backbone", "resnet18"), "resnet18"),
    ],
)
def test_bad_input_is_one_line(two, command, options, sentence, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    answer = command("datasets", "map", "two", "--backbone", "bundled_vgg", *options)
    assert answer.status == 2
    assert sentence in answer.err
    assert "Traceback" not in answer.err
