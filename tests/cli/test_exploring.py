"""`datasets measures`: words, table, CSV and JSON of one measuring."""

import csv
import io
import json

import pytest


@pytest.fixture
def colours(command, images):
    assert command("datasets", "import", images, "--name", "colours").status == 0
    return "colours"


def test_measures_in_words_as_json_and_as_csv(command, colours):
    printed = command("datasets", "measures", colours)
    assert printed.status == 0
    assert printed.out.split()[:3] == ["median", "of", "class"]
    assert "Images of 'warm' have less blue than the others in 100 of 100 pairs (" in printed.out
    assert "(100 to 100)" not in printed.out  # of 24 images

    found = json.loads(command("datasets", "measures", colours, "--json").out.splitlines()[-1])
    assert set(found["medians"]) == {"cold", "warm"}
    assert found["medians"]["cold"]["blue"] > found["medians"]["warm"]["blue"]
    assert found["units"]["brightness"] == "grey level, 0 to 255"
    assert {one["who"] for one in found["stands_out"]} <= {"cold", "warm"}

    rows = list(csv.DictReader(io.StringIO(command("datasets", "measures", colours, "--csv").out)))
    assert len(rows) == 24
    assert {row["split"] for row in rows} == {"train", "val", "test"}
    assert all(float(row["sharpness"]) >= 0 for row in rows)


def test_images_without_a_label_are_measured_too(command, images):
    given = ("--source", "unlabelled", "--set", "classes=cat,dog", "--name", "loose")
    assert command("datasets", "import", images, *given).status == 0
    answer = command("datasets", "measures", "loose", "--csv")
    assert answer.status == 0, answer.err
    assert {row["split"] for row in csv.DictReader(io.StringIO(answer.out))} == {""}
    assert "No class and no split differs much" in command("datasets", "measures", "loose").out


def test_what_will_not_do_is_one_line(command, colours):
    for arguments in (("nothing",), (colours, "--csv", "--json")):
        refused = command("datasets", "measures", *arguments)
        assert refused.status == 2
        assert len(refused.err.strip().splitlines()) == 1
