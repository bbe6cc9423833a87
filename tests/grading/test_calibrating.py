"""A finished run is calibrated by answers to images that were held out, whichever way it was trained."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from lib.atomic import read_json, write_json
from lib.errors import UserError
from lib.grading import calibrating
from lib.grading.calibrating import calibrate_run
from lib.models.gate import GATE_FILE
from lib.models.seen_images import SeenImages
from lib.progress import ignore_progress
from lib.tracking.state import PREDICTIONS_FILE
from tests.moved_run import KeptDataset, manifest_of

NUM = 12
HELD = [7, 4, 10]  # in no order


class Dataset(KeptDataset):
    """A data set that is asked for rows by their ids."""

    def indices(self, image_ids):
        return np.array([int(image_id, 16) for image_id in image_ids])


@pytest.fixture
def scene(tmp_path, monkeypatch):
    """A run of twelve images, fitted on the first four; what its calibration asked for is kept in `asked`."""
    dataset = Dataset(num_images=NUM)
    (tmp_path / "bundle").mkdir()
    manifest = manifest_of(dataset)
    write_json(tmp_path / "bundle" / "manifest.json", manifest | {"kept": True})
    ids = dataset.table["image_id"].to_numpy()
    grader = SimpleNamespace(
        manifest=manifest, classifier=None, device="cpu", is_ordinal=False, seen=SeenImages.of(ids[:4], ids[HELD])
    )
    asked: dict = {}
    monkeypatch.setattr(calibrating.Grader, "open", lambda run_id, device: grader)
    monkeypatch.setattr(calibrating, "open_dataset", lambda name, version: dataset)
    monkeypatch.setattr(calibrating, "fit_domain", lambda *_, **settings: asked.update(settings) or "the gate")
    monkeypatch.setattr(calibrating, "save_gate", lambda path, gate: path.write_text(gate))
    monkeypatch.setattr(calibrating, "calibration_of_answers", lambda *_, **__: {"calibration": {"temperature": 2.0}})
    run = SimpleNamespace(run_id="r1", short_id="r1", folder=tmp_path)
    return SimpleNamespace(run=run, dataset=dataset, grader=grader, asked=asked, ids=ids, bundle=tmp_path / "bundle")


def answers(scene, **parts):
    """Answers to rows by their part, kept in the run's folder; an image's probability tells its row."""
    rows = [row for own in parts.values() for row in own]
    table = pd.DataFrame({"image_id": [f"{row:016x}" for row in rows], "target": 0})
    table["split"] = [part for part, own in parts.items() for _ in own]
    table["probability_0"] = np.array(rows) / 100
    table["probability_1"] = 1 - table["probability_0"]
    table.to_parquet(scene.run.folder / PREDICTIONS_FILE)


@pytest.mark.parametrize(
    ("num_folds", "parts"),
    [
        (None, {"val": HELD, "test": [11]}),
        (None, {"out_of_fold": HELD, "test": [11]}),
        (3, {"test": HELD}),
    ],
    ids=["validation", "out of fold", "folds"],
)
def test_limits_come_from_what_had_not_seen_the_images(scene, num_folds, parts):
    scene.grader.manifest["config"] |= {"num_folds": num_folds, "seed": 5}
    answers(scene, **parts)
    assert calibrate_run(scene.run) == "the gate"
    assert scene.asked["fit_rows"].tolist() == [0, 1, 2, 3]
    assert scene.asked["val_rows"].tolist() == HELD
    assert scene.asked["probabilities"][:, 0].tolist() == [0.07, 0.04, 0.1]  # of the same images in the same order
    assert (scene.asked["seed"], scene.asked["progress"]) == (5, ignore_progress)


def test_gate_and_calibration_are_written_beside_what_the_bundle_said(scene):
    answers(scene, val=HELD)
    calibrate_run(scene.run)
    assert (scene.bundle / GATE_FILE).read_text() == "the gate"
    manifest = read_json(scene.bundle / "manifest.json")
    assert (manifest["kept"], manifest["calibration"]) == (True, {"temperature": 2.0})


def test_answers_to_images_that_take_no_part_any_more_are_passed_over(scene):
    answers(scene, val=[*HELD, 99])
    calibrate_run(scene.run)
    assert scene.asked["val_rows"].tolist() == HELD


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        ("no answers", "The run r1 kept no answers"),
        ("nothing held out", "no image was held out; train it again"),
        ("nothing fitted", "Nothing tells which images the run r1 was trained on"),
        ("no data set", "The data set 'tiny' of the run r1 is gone or was imported anew; its gate stays as it is"),
    ],
)
def test_what_cannot_be_calibrated_says_why_and_stays_as_it_is(scene, monkeypatch, damage, sentence):
    def gone(name, version):
        raise UserError("No such data set.")

    if damage != "no answers":
        answers(scene, **({"test": [11]} if damage == "nothing held out" else {"val": HELD}))
    if damage == "nothing fitted":
        scene.grader.seen = SeenImages.of([], scene.ids[HELD])
    if damage == "no data set":
        monkeypatch.setattr(calibrating, "open_dataset", gone)
    before = (scene.bundle / "manifest.json").read_bytes()
    with pytest.raises(UserError, match=sentence):
        calibrate_run(scene.run)
    assert [path.name for path in scene.bundle.iterdir()] == ["manifest.json"]
    assert (scene.bundle / "manifest.json").read_bytes() == before
