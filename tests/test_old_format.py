"""Runs, bundles, data sets and plans that version 0.1.0 wrote (commit ad2aec7) still open, resume and grade.

`tests/old_format` is a home of that version: a data set of 20 images, and two seeds of one training of the first block
of the bundled network. The first seed is finished; the second was stopped after two of its four epochs.
`unbroken.json` holds what the second one answered where nobody stopped it.
"""

import gzip
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from lib import jobs, tracking
from lib.data.library import open_dataset
from lib.grading.grader import Grader
from lib.sweeps.runner import run_sweep
from lib.sweeps.seeds import SeedSweep
from lib.tracking.repair import let_wait
from lib.tracking.timeline import read_timeline
from lib.watched_images import frame_epochs, read_frame
from tests.run_store import make_run_store

OLD = Path(__file__).parent / "old_format"
FINISHED, STOPPED = "20acf461a28f4c908634b940bbb03330", "2410f341f70a4774b218497377618c33"
TOLERANCE = 0.02  # other processors round and add up otherwise


@pytest.fixture(autouse=True)
def old_home(home: Path) -> None:
    shutil.copytree(OLD, home)
    packed = home / "datasets" / "petals" / "pixels.bin.gz"
    packed.with_suffix("").write_bytes(gzip.decompress(packed.read_bytes()))
    packed.unlink()
    make_run_store()
    let_wait([FINISHED, STOPPED])


def probabilities(run_id: str) -> dict[str, np.ndarray]:
    table = tracking.predictions(run_id)
    columns = table[["probability_0", "probability_1"]].to_numpy()
    return dict(zip(table["image_id"], columns, strict=True))


def test_what_was_stopped_goes_on_to_the_end_it_would_have_had():
    (plan,) = SeedSweep.newest_first()
    assert plan.read().state == "stopped"
    state = run_sweep(plan)
    assert (state.state, state.runs) == ("finished", {"seed 0": FINISHED, "seed 1": STOPPED})
    log = jobs.tail_log(STOPPED, lines=100)
    assert [f"epoch {epoch}/4" in log for epoch in (1, 2, 3, 4)] == [True] * 4
    assert log.count("epoch ") == 4  # those before the stop were not trained again
    assert tracking.get_run(STOPPED).state == "finished"
    unbroken = json.loads((OLD / "unbroken.json").read_text())
    found = probabilities(STOPPED)
    assert found.keys() == unbroken.keys()
    assert np.array(list(found.values())) == pytest.approx(np.array(list(unbroken.values())), abs=TOLERANCE)
    assert len(plan.spreads()[0].values) == 2


@pytest.mark.slow
def test_a_single_run_is_taken_up_again_by_its_id():
    assert tracking.read_state(STOPPED).is_resumable
    summary = jobs.work(jobs.prepare_resume(STOPPED), listener=lambda event: None, on_wait=lambda ahead: None)
    assert (summary["state"], summary["facts"]["num_epochs"]) == ("finished", 4)


def test_runs_are_listed_with_their_figures_curves_and_pictures():
    runs = {run.run_id: run for run in tracking.list_runs()}
    assert {run_id: run.state for run_id, run in runs.items()} == {FINISHED: "finished", STOPPED: "stopped"}
    assert runs[FINISHED].label == "Full fine-tuning · Bundled VGG · petals · seed 0"
    assert runs[FINISHED].metrics["test_accuracy"] == runs[FINISHED].summary["test_accuracy"] == 0.5
    assert runs[STOPPED].title == "stopped"
    timeline = read_timeline(FINISHED)
    assert timeline.history(timeline.seconds, ["val_loss"])["step"].tolist() == [1, 2, 3, 4]
    folder = tracking.run_folder(FINISHED)
    assert frame_epochs(folder) == [0, 1, 2, 3, 4]
    assert read_frame(folder, 4).probabilities.shape == (2, 2)
    assert list(tracking.validation_confusions(STOPPED)) == [1, 2]


@pytest.mark.parametrize("is_by_id", [True, False])
def test_a_bundle_gives_the_answers_that_were_stored(is_by_id: bool):
    grader = Grader.open(FINISHED if is_by_id else OLD / "runs" / FINISHED / "bundle", device="cpu")
    dataset, stored = open_dataset("petals"), probabilities(FINISHED)
    scores, distances = grader.scores(np.asarray(dataset.pixels[dataset.indices(list(stored))]))
    assert scores == pytest.approx(np.array(list(stored.values())), abs=TOLERANCE)
    assert all(distance is not None for distance in distances)
