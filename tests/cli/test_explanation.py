import json

import numpy as np
import pytest
from PIL import Image

from lib import tracking


def test_explain_writes_a_picture(command, trained, tmp_path):
    image, out = trained / "colours" / "warm" / "0.png", tmp_path / "maps.png"
    run_id = next(run.run_id for run in tracking.list_runs() if "Linear" in run.label)
    answer = command("explain", image, "--run", run_id, "--target", "cold", "--out", out, "--json")
    assert answer.status == 0, answer.err
    assert json.loads(answer.out)["class_name"] == "cold"
    assert Image.open(out).width > 300


def test_explain_answers_what_grade_answers(command, trained, tmp_path):
    """A page of text and noise in no colour of the set: refused by both, with the same distance."""
    generator = np.random.default_rng(0)
    strange = tmp_path / "strange.png"
    Image.fromarray(generator.integers(0, 2, (40, 40, 1), dtype=np.uint8).repeat(3, axis=2) * 255).save(strange)
    run_id = next(run.run_id for run in tracking.list_runs() if "Linear" in run.label)
    for image in (strange, trained / "colours" / "warm" / "0.png"):
        out = tmp_path / "maps.png"
        explained = json.loads(command("explain", image, "--run", run_id, "--out", out, "--json").out.splitlines()[-1])
        graded = json.loads(command("grade", image, "--run", run_id, "--json").out.splitlines()[-1])["images"][0]
        assert explained["status"] == graded["status"]
        assert explained["distance"] == pytest.approx(graded["distance"], abs=1e-6)
        assert explained["class_name"] == graded["class_name"]
        probabilities = {one["class_name"]: one["probability"] for one in explained["top"]}
        assert probabilities == pytest.approx(graded["probabilities"], abs=1e-6)
    answer = command("explain", strange, "--run", run_id, "--out", tmp_path / "maps.png")
    assert answer.status == 0
    assert answer.out.startswith("No class is given: ")
    assert "Unlike the training images" in answer.err
    asked = command("explain", strange, "--run", run_id, "--target", "cold", "--out", tmp_path / "maps.png")
    assert asked.out.startswith("No class is given; drawn for cold (asked for, probability")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["x.png", "--out", "y.png"], "There is no image file x.png"),
        (["x.png", "--run", "a", "--backbone", "b", "--out", "y.png"], "either --run ID or --backbone NAME"),
        (["x.png", "--run", "a", "--out", "y.gif"], "must end in .png"),
        (["none.png", "--run", "a", "--out", "y.png"], "There is no image file none.png"),
        ([__file__, "--backbone", "a", "--by-thresholds", "--out", "y.png"], "--by-thresholds goes with --run"),
    ],
)
def test_explain_says_what_it_needs(arguments, expected, command):
    answer = command("explain", *arguments)
    assert answer.status == 2
    assert expected in answer.err
