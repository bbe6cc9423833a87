import json

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


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["x.png", "--out", "y.png"], "either --run ID or --backbone NAME"),
        (["x.png", "--run", "a", "--backbone", "b", "--out", "y.png"], "either --run ID or --backbone NAME"),
        (["x.png", "--run", "a", "--out", "y.gif"], "must end in .png"),
        (["none.png", "--run", "a", "--out", "y.png"], "There is no image file none.png"),
    ],
)
def test_explain_says_what_it_needs(arguments, expected, command):
    answer = command("explain", *arguments)
    assert answer.status == 2
    assert expected in answer.err
