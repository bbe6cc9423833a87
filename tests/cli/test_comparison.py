import json
from types import SimpleNamespace

import pandas as pd
import pytest

from lib import tracking
from lib.cli import comparison


def test_compare_pairs_the_same_test_images(command, trained):
    first, second = (run.run_id for run in tracking.list_runs())
    answer = json.loads(command("compare", first[:10], second[:10], "--json").out)
    assert [row["run_id"] for row in answer["runs"]] == [first, second]
    assert answer["pairs"][0]["n"] == 4
    assert "Nearest neighbours" in command("compare", first, second).out
    twice = command("compare", first, "latest")
    assert (twice.status, twice.err) == (
        2,
        f"Error: The run {first[:8]} was given twice; comparing needs different runs.\n",
    )


def test_runs_on_other_classes_are_not_paired():
    runs = [
        SimpleNamespace(
            run_id=letter * 8, short_id=letter, label=letter, config={"dataset": "a", "target_map": mapping}
        )
        for letter, mapping in (("x", None), ("y", "any_dr"))
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tracking, "predictions", lambda run_id: _two_predictions())
        pair = comparison._pair(*runs)
        runs[1].config["target_map"] = None
        assert comparison._pair(*runs)["n"] == 2
    assert pair["n"] == 0
    assert pair["sentence"] == "Not compared: x and y tell different classes apart (target_map None and any_dr)."


def _two_predictions():
    columns = {"image_id": ["a", "b"], "split": "test", "target": [0, 1], "probability_0": [0.9, 0.2]}
    return pd.DataFrame(columns | {"probability_1": [0.1, 0.8]})
