import json

from lib import tracking


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


def test_compare_says_what_runs_are_judged_by_and_what_always_one_class_reaches(command, trained):
    first, second = (run.run_id for run in tracking.list_runs())
    answer = json.loads(command("compare", first, second, "--json").out)
    for row in answer["runs"]:
        assert (row["headline"], row["test_baseline_accuracy"]) == ("accuracy", 0.5)  # two classes, two images each
    accuracies = [row["test_accuracy"] for row in answer["runs"]]
    assert accuracies == sorted(accuracies, reverse=True)
    assert answer["pairs"][0]["metric"] == "accuracy"
    assert answer["metric"] == "accuracy"
    said = command("compare", first, second).out
    assert "commonest class" in said.splitlines()[0]
    assert said.count("always the") == 2


def test_runs_without_predictions_are_said_not_to_be_compared(command, trained):
    first = tracking.list_runs()[0].run_id
    queued = tracking.create_run({"dataset": "colours", "strategy": "linear_probe"}).run_id
    try:
        answer = command("compare", first, queued)
        assert answer.status == 0
        assert f"Not compared: The run {queued[:8]} has no predictions" in answer.out
    finally:
        tracking.RunWriter(queued).finish("stopped")
        tracking.delete_run(queued)


def test_compare_by_a_chosen_metric_with_warnings(command, trained):
    first, second = (run.run_id for run in tracking.list_runs())
    answer = json.loads(command("compare", first, second, "--metric", "log_loss", "--json").out)
    assert answer["metric"] == answer["pairs"][0]["metric"] == "log_loss"
    values = [row["value"] for row in answer["rows"]]
    assert values == sorted(values)
    assert answer["rows"][0]["reason"].startswith("too few images (4;")
    assert any(warning.startswith("Few test images of ") for warning in answer["warnings"])
    assert "Warning: Few test images of " in command("compare", first, second, "--metric", "log_loss").out
    wrong = command("compare", first, second, "--metric", "beauty")
    assert wrong.status == 2
    assert "beauty" in wrong.err
