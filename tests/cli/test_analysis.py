import json
from types import SimpleNamespace

import pandas as pd
import pytest
from PIL import Image

from lib import tracking
from lib.cli import analysis
from tests.cli.conftest import write_images


def _ids():
    return [run.run_id for run in tracking.list_runs()]


def test_evaluate_counts_test_images_of_its_own_set_and_all_of_another(command, trained, tmp_path):
    own = json.loads(command("evaluate", "--run", _ids()[0], "--dataset", "colours", "--json").out)
    assert (own["images"], own["num"]) == ("test", 4)
    assert own["accuracy_low"] < own["accuracy"] <= own["accuracy_high"]

    other = write_images(tmp_path / "other", per_class=5, seed=1)
    answer = json.loads(command("evaluate", "--run", _ids()[0], "--dataset", other, "--json").out)
    assert (answer["images"], answer["num"]) == ("all", 10)


def test_evaluate_refuses_other_classes(command, trained, tmp_path):
    other = write_images(tmp_path / "other", seed=2)
    (other / "cold").rename(other / "tepid")
    answer = command("evaluate", "--run", "latest", "--dataset", other)
    assert answer.status == 2
    assert "the class 'tepid', which the classifier does not know (it knows cold, warm)" in answer.err


def test_compare_pairs_the_same_test_images(command, trained):
    first, second = _ids()
    answer = json.loads(command("compare", first[:10], second[:10], "--json").out)
    assert [row["run_id"] for row in answer["runs"]] == [first, second]
    assert answer["pairs"][0]["n"] == 4
    assert "Nearest neighbours" in command("compare", first, second).out
    twice = command("compare", first, "latest")
    assert (twice.status, twice.err) == (
        2,
        f"Error: The run {first[:8]} was given twice; comparing needs different runs.\n",
    )


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


def test_runs_on_other_classes_are_not_paired():
    runs = [
        SimpleNamespace(
            run_id=letter * 8, short_id=letter, label=letter, config={"dataset": "a", "target_map": mapping}
        )
        for letter, mapping in (("x", None), ("y", "any_dr"))
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tracking, "predictions", lambda run_id: _two_predictions())
        pair = analysis._pair(*runs)
        runs[1].config["target_map"] = None
        assert analysis._pair(*runs)["n"] == 2
    assert pair["n"] == 0
    assert pair["sentence"] == "Not compared: x and y tell different classes apart (target_map None and any_dr)."


def _two_predictions():
    columns = {"image_id": ["a", "b"], "split": "test", "target": [0, 1], "probability_0": [0.9, 0.2]}
    return pd.DataFrame(columns | {"probability_1": [0.1, 0.8]})
