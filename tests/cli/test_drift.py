import json
import shutil

import pytest

from lib.settings import datasets_dir
from tests.explain.test_concept_images import write
from tests.moved_run import save_run


@pytest.fixture
def run(tmp_path) -> str:
    return save_run(tmp_path / "tinted")


@pytest.mark.slow
def test_the_tables_and_the_reading_are_printed(command, run, tmp_path) -> None:
    concepts = write(tmp_path / "concepts" / "moss", 12)
    answer = command("drift", "--run", run[:8], "--reset-stages", "--concepts", concepts)
    assert answer.status == 0, answer.err
    lines = answer.out.splitlines()
    assert lines[0].split()[:4] == ["stage", "name", "trained", "weights"]
    assert any("block1" in line and "0.00 %" in line and "1.000 to 1.000" in line for line in lines)
    assert any(line.startswith("block4 and block5") for line in lines)
    assert "block1 to block3 did not" in answer.out
    assert "Put back as" in answer.out
    assert "the score of a (" in answer.out
    assert "no proof of a cause" in answer.out

    content = json.loads(command("drift", "--run", run, "--reset-stages", "--json").out.splitlines()[-1])
    assert content["run_id"] == run
    assert content["reading"] in answer.out
    assert [row["stage"] for row in content["rows"]][:2] == ["block1", "block2"]
    assert content["rows"][0]["weights"] == 0.0
    assert content["resets"]["rows"][0]["stages"] == ["block5"]
    assert "concepts" not in content


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--run", "nobody"), "There is no run 'nobody'"),
        (("--run", "RUN", "--dataset", "nothing"), "There is no data set"),
        (("--run", "RUN", "--concepts", "lesions"), "has no masks of lesions"),
        (("--run", "RUN", "--concepts", "/no/folder"), "There is no folder"),
        (("--run", "RUN", "--concepts", "textures", "--target", "z"), "There is no class 'z'"),
    ],
)
def test_bad_input_is_one_line(command, run, arguments: tuple[str, ...], sentence: str) -> None:
    answer = command("drift", *(run if word == "RUN" else word for word in arguments))
    assert answer.status == 2
    assert sentence in answer.err
    assert "Traceback" not in answer.err


def test_a_probe_and_a_lost_data_set_are_one_line(command, run, tmp_path) -> None:
    answer = command("drift", "--run", save_run(tmp_path / "tinted", "linear_probe"))
    assert answer.status == 2
    assert "Nothing moved, by design" in answer.err
    shutil.rmtree(datasets_dir() / "tinted")
    answer = command("drift", "--run", run)
    assert answer.status == 2
    assert answer.err.strip().splitlines()[-1].count("imported anew") == 1
