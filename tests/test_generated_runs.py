"""Generated runs are runs like any: read by the store's own readers, the same each time."""

import numpy as np
import pytest

from lib.data.library import image_groups, open_dataset
from lib.evaluation.comparison import compare_paired
from lib.evaluation.metric_table import METRICS
from lib.evaluation.metrics import evaluate_predictions
from lib.settings import runs_dir
from lib.sweeps.seeds import SeedSweep
from lib.tracking import get_run, list_runs, metric_history
from lib.tracking.tested import read_tested
from lib.tracking.timeline import read_timeline
from tests.generated_runs import NUM_SEEDS, make_generated_runs


def test_they_are_read_as_any_run():
    made = make_generated_runs(8, num_test=40)
    runs = {run.run_id: run for run in list_runs()}
    assert [run.run_id for run in list_runs()] == made[::-1]  # newest first
    tested = read_tested(runs[made[0]], "one")
    assert tested.is_ordinal
    assert tested.probabilities.shape == (40, 5)
    assert np.allclose(tested.probabilities.sum(1), 1)
    metrics = evaluate_predictions(tested.targets, tested.probabilities, is_ordinal=True)
    summary = runs[made[0]].summary
    for key in METRICS:
        assert summary[f"test_{key}"] == pytest.approx(metrics[key], abs=1e-12)
    assert len(np.unique(tested.groups)) == 20  # two images a patient
    assert all(len(set(tested.targets[tested.groups == group])) == 1 for group in np.unique(tested.groups))
    assert len({run.config["strategy"] for run in runs.values()}) > 3
    assert sum(bool(run.config["recipe"]) for run in runs.values()) == 1
    epochs = [metric_history(run_id, ["val_loss"])["step"].max() for run_id in made]
    tuned = next(run for run in runs.values() if run.config["strategy"] == "from_scratch")
    assert epochs[made.index(tuned.run_id)] == tuned.config["epochs"]
    assert len(read_timeline(tuned.run_id).epochs) == tuned.config["epochs"]


def test_a_series_of_seeds_has_its_plan_and_its_spread():
    made = make_generated_runs(NUM_SEEDS, num_test=40)
    (plan,) = SeedSweep.newest_first()
    assert list(plan.read().runs.values()) == made
    assert [get_run(run_id).config["seed"] for run_id in made] == [0, 1, 2]
    spread = next(spread for spread in plan.spreads() if spread.metric == "test_accuracy")
    assert len(spread.values) == NUM_SEEDS
    assert spread.deviation > 0


def test_answers_to_one_image_hang_together():
    first, second, *_ = make_generated_runs(2)
    a, b = (read_tested(get_run(run_id), run_id) for run_id in (first, second))
    right = [run.answers == run.targets for run in (a, b)]
    assert np.corrcoef(*right)[0, 1] > 0.3
    paired = compare_paired(a.targets, a.probabilities, b.probabilities, groups=a.groups)
    assert paired.n == 200


def test_the_same_arguments_give_the_same_runs(monkeypatch, tmp_path):
    def answers(home):
        monkeypatch.setenv("TRANSFERSCOPE_HOME", str(tmp_path / home))
        made = make_generated_runs(2, num_classes=3, num_test=20, is_ordinal=False, with_groups=False)
        run = get_run(made[1])
        assert image_groups(run.config["dataset"], list(open_dataset(run.config["dataset"]).table["image_id"])) is None
        return made, read_tested(run, "one").probabilities.tolist()

    assert answers("first") == answers("second")
    before = sorted(path.name for path in runs_dir().iterdir())
    more = make_generated_runs(3, num_classes=3, num_test=20, is_ordinal=False, with_groups=False)
    assert len(list_runs()) == 3
    assert set(more) >= {name for name in before if len(name) == 32}


@pytest.mark.parametrize("num_classes", [2, 101])
def test_two_and_a_hundred_classes(num_classes):
    (run_id,) = make_generated_runs(1, num_classes=num_classes, num_test=210, is_ordinal=False)
    tested = read_tested(get_run(run_id), "one")
    assert len(tested.class_names) == num_classes
    assert len(np.unique(tested.targets)) == num_classes
    assert 0.3 < (tested.answers == tested.targets).mean() < 1
