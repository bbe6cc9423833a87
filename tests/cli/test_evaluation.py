import json

from lib import tracking
from tests.cli.conftest import write_images


def test_evaluate_counts_test_images_of_its_own_set_and_all_of_another(command, trained, tmp_path):
    own = json.loads(command("evaluate", "--run", tracking.list_runs()[0].run_id, "--dataset", "colours", "--json").out)
    assert (own["images"], own["num"]) == ("test", 4)
    assert own["accuracy_low"] < own["accuracy"] <= own["accuracy_high"]

    other = write_images(tmp_path / "other", per_class=5, seed=1)
    answer = json.loads(command("evaluate", "--run", tracking.list_runs()[0].run_id, "--dataset", other, "--json").out)
    assert (answer["images"], answer["num"]) == ("all", 10)


def test_evaluate_refuses_other_classes(command, trained, tmp_path):
    other = write_images(tmp_path / "other", seed=2)
    (other / "cold").rename(other / "tepid")
    answer = command("evaluate", "--run", "latest", "--dataset", other)
    assert answer.status == 2
    assert "the class 'tepid', which the classifier does not know (it knows cold, warm)" in answer.err
