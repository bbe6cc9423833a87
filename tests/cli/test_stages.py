import json

import pytest

from lib import tracking
from lib.data.importing import import_folder
from lib.explain import stage_probes
from lib.explain.stage_reading import method, reading
from lib.explain.stage_worth import StageWorth
from tests.cli.conftest import write_classes
from tests.explain.test_stage_worth import make_worth


@pytest.fixture
def asked(monkeypatch):
    """What was to be measured; the answer is invented."""
    questions = []

    def measure(question, **options):
        questions.append(question)
        _ = question.task
        options["progress"](1, 2, "images through the pretrained network")
        return make_worth([60, 90, 70], [50, 55, 60])

    monkeypatch.setattr(stage_probes, "measure_stages", measure)
    return questions


@pytest.mark.slow
def test_the_table_and_the_sentence_of_the_page(images, command, asked):
    import_folder(images, name="two")
    answer = command("stages", "--dataset", "two", "--backbone", "bundled_vgg", "--random-seed", 3)
    assert answer.status == 0, answer.err
    lines = answer.out.splitlines()
    assert " ".join(lines[0].split()) == "stage name features head right of the cut pretrained 95 % random 95 %"
    assert lines[2].startswith("best  2 Stage 2")
    worth = make_worth([60, 90, 70], [50, 55, 60])
    assert reading(worth) in answer.out
    assert method(worth) in answer.out
    [question] = asked
    assert (question.spec.name, question.random_seed, question.split_seed) == ("bundled_vgg", 3, 0)


@pytest.mark.slow
def test_measured_for_real_and_kept(images, command):
    import_folder(images, name="two")
    arguments = ("stages", "--dataset", "two", "--backbone", "bundled_vgg", "--split-seed", 1, "--json")
    answer = command(*arguments)
    assert answer.status == 0, answer.err
    content = json.loads(answer.out.splitlines()[-1])
    said = {key: content.pop(key) for key in ("reading", "method")}
    worth = StageWorth.from_dict(content)
    assert said == {"reading": reading(worth), "method": method(worth)}
    assert (worth.split_seed, worth.num_scored, worth.num_folds) == (1, 24, 5)
    assert worth.rows[worth.best].pretrained.value > 0.9  # warm and cold
    assert json.loads(command(*arguments).out) == {**content, **said}  # the second time from the cache


def test_a_run_beside_its_start(command, trained, asked):
    run_id = next(run.run_id for run in tracking.list_runs() if "Linear" in run.label)
    answer = command("stages", "--dataset", "colours", "--run", run_id[:8])
    assert answer.status == 2
    assert "mobilenet_v3_small" in answer.err  # its published weights are not at hand
    other = command("stages", "--dataset", "colours", "--run", run_id, "--backbone", "resnet18")
    assert other.status == 2
    assert f"The network of the run {run_id[:8]} is mobilenet_v3_small; leave --backbone out" in other.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--dataset", "gone"], "There is no data set (and no folder) 'gone'"),
        (["--dataset", "two", "--backbone", "vgg61"], "Unknown backbone 'vgg61'"),
        (["--dataset", "two", "--backbone", "resnet18"], "weights"),
        (["--dataset", "two", "--run", "abcdef"], "abcdef"),
        (["--dataset", "two", "--target-map", "0,1,2"], "The target_map 0,1,2 is for 3 classes"),
        (["--dataset", "few"], "Class 'a' has 4 images; at least 5 are needed (one for each of 5 folds"),
    ],
)
def test_bad_input_is_one_line(images, tmp_path, command, asked, bundled_default, arguments, words):
    import_folder(images, name="two")
    import_folder(write_classes(tmp_path / "few", ("a", "b"), per_class=4), name="few")
    answer = command("stages", *arguments)
    assert answer.status == 2
    assert words in answer.err
    assert len(answer.err.strip().splitlines()) == 1
