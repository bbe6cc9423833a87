"""`export`, `bundles` and `registry` from the command line."""

import json

import pytest

from tests.grading.squares import finished_run_on_squares, png


@pytest.fixture
def run_id(home):
    return finished_run_on_squares()


def test_a_model_goes_away_and_comes_back(command, run_id, tmp_path):
    image = tmp_path / "red.png"
    image.write_bytes(png("red", 1))
    assert command("export", "--run", run_id, "--out", tmp_path / "model.zip", "--onnx").status == 0
    onnx = command("export", "--run", run_id, "--out", tmp_path / "model.onnx", "--json")
    assert json.loads(onnx.out.splitlines()[-1])["largest_difference"] <= 1e-4
    kept = json.loads(command("bundles", "import", tmp_path / "model.zip", "--name", "Away", "--json").out)
    assert kept["name"] == "Away"
    assert "Away" in command("bundles", "list").out
    graded = command("grade", image, "--run", kept["bundle_id"])
    assert graded.status == 0, graded.err
    assert "red" in graded.out
    assert "bundles restore" in command("bundles", "delete", kept["bundle_id"]).out
    assert command("bundles", "restore", kept["bundle_id"]).status == 0
    (tmp_path / "model.zip").write_bytes(b"PK")
    refused = command("bundles", "import", tmp_path / "model.zip")
    assert refused.status == 2
    assert refused.err.count("\n") == 1


@pytest.mark.slow
def test_a_registered_run_grades_by_its_alias(command, run_id, tmp_path):
    image = tmp_path / "red.png"
    image.write_bytes(png("red", 1))
    for number in (1, 2):
        made = json.loads(command("registry", "register", "--run", run_id, "--name", "eyes", "--json").out)
        assert made["version"] == number
        assert command("registry", "alias", "eyes", "champion", number).status == 0
    assert command("grade", image, "--run", "models:/eyes@champion").status == 0
    assert "eyes@champion is version 1 again" in command("registry", "rollback", "eyes").out
    again = command("registry", "rollback", "eyes")
    assert (again.status, "nothing to roll back" in again.err) == (2, True)
    assert "champion" in command("registry", "list").out
    assert command("grade", image, "--run", "models:/eyes@nobody").status == 2
