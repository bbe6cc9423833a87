"""The grader end to end: bytes of any kind in, one grade each out, in order."""

import dataclasses

import numpy as np
import pytest

from lib.atomic import write_json
from lib.data.decoder_pool import DecoderPool
from lib.errors import UserError
from lib.evaluation.calibration import calibration_entry
from lib.grading import operating_point
from lib.grading.grader import Grader
from lib.grading.grades import NOT_CHECKED, GradingOptions
from lib.grading.upload_session import Skipped, skipped_grades
from lib.models.gate import GATE_FILE, Gate, save_gate
from tests.grading.squares import encode, make_pixels, png, stored_point

WITH_MAPS = GradingOptions(with_maps=True)


def test_known_images_get_their_class(grader):
    red, blue = grader.grade([("a.png", png("red", 1)), ("b.png", png("blue", 2))])
    assert (red.name, red.status, red.class_name, red.target) == ("a.png", "graded", "red", 0)
    assert (blue.class_name, blue.target) == ("blue", 1)
    assert red.confidence == red.probabilities["red"] == max(red.probabilities.values())
    assert sum(red.probabilities.values()) == pytest.approx(1)
    assert red.distance < red.threshold == grader.gate.threshold
    assert red.pixels.shape == (32, 32, 3)
    assert red.cam is None


def test_unreadable_and_strange_files_keep_their_place(grader, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3)).astype(np.uint8)
    path = tmp_path / "on_disk.png"
    path.write_bytes(png("red", 3))
    items = [
        ("text.txt", b"not an image"),
        ("on_disk.png", path),
        ("noise.png", encode(noise)),
        ("empty.png", b""),
        ("blank.png", encode(np.full((32, 32, 3), 128, np.uint8))),
        ("gone.png", tmp_path / "gone.png"),
    ]
    grades = list(grader.grade(items))
    assert [grade.name for grade in grades] == [name for name, _ in items]
    assert [grade.status for grade in grades] == ["refused", "graded", "unlike", "refused", "unlike", "refused"]
    assert all(grade.reason for grade in grades)
    assert "Unlike the training images: feature distance" in grades[2].reason
    assert "blank" in grades[4].reason
    for grade in (grades[0], grades[2]):
        assert grade.class_name is None
        assert grade.probabilities == {}
    assert grades[0].pixels is None
    assert grades[2].pixels.shape == (32, 32, 3)


def test_more_images_than_a_batch_keep_their_order(grader):
    kinds = [("red", "blue", "blue")[row % 3] for row in range(35)]
    seen = []
    items = [(f"{row}.png", png(kind, row)) for row, kind in enumerate(kinds)]
    grades = list(grader.grade(iter(items), progress=lambda done, total, _: seen.append((done, total))))
    assert [grade.name for grade in grades] == [name for name, _ in items]
    named = [(grade.class_name, kind) for grade, kind in zip(grades, kinds, strict=True) if grade.status == "graded"]
    assert len(named) > 25
    assert all(class_name == kind for class_name, kind in named)
    assert seen == [(row + 1, 35) for row in range(35)]


def test_who_leaves_early_waits_for_no_more_than_what_is_being_decoded(grader, monkeypatch):
    decode, decoded = DecoderPool.decode, []

    def counted(pool, source):
        decoded.append(source)
        return decode(pool, source)

    monkeypatch.setattr(DecoderPool, "decode", counted)
    grades = grader.grade([(f"{row}.png", png("red", row)) for row in range(300)])
    next(grades)
    grades.close()
    assert grader.batch_size <= len(decoded) < 150


def test_a_grade_does_not_depend_on_its_neighbours(grader):
    alone = next(iter(grader.grade([("a.png", png("red", 5))])))
    together = list(
        grader.grade([("x", b"x"), *((f"{row}", png("blue", row)) for row in range(5)), ("a", png("red", 5))])
    )
    assert together[-1].confidence == pytest.approx(alone.confidence, abs=1e-6)
    assert together[-1].distance == pytest.approx(alone.distance, abs=1e-6)


def test_grad_cam_comes_with_graded_images_only(grader):
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3)).astype(np.uint8)
    strange, red = grader.deciding(WITH_MAPS).grade([("noise.png", encode(noise)), ("a.png", png("red", 1))])
    assert strange.cam is None
    assert red.cam.ndim == 2
    assert red.cam.min() >= 0
    assert red.cam.max() <= 1


def test_a_bundle_may_name_another_method_of_maps(trained):
    classifier, manifest, _ = trained
    manifests = manifest, {**manifest, "map_method": "layer_cam"}
    usual, asked = (Grader(classifier, one, options=WITH_MAPS) for one in manifests)
    assert [grader.map_method.name for grader in (usual, asked)] == ["grad_cam", "layer_cam"]
    maps = [next(iter(grader.grade([("a", png("red", 1))]))).cam for grader in (usual, asked)]
    assert not np.array_equal(*maps)
    assert all(0 <= one.min() <= one.max() <= 1 for one in maps)
    unfit = Grader(classifier, {**manifest, "map_method": "deep_lift"}, options=WITH_MAPS)  # gates in MobileNetV3
    assert not unfit.has_cam
    assert unfit.why_no_cam.startswith("It has no rule for hard")
    assert next(iter(unfit.grade([("a", png("red", 1))]))).cam is None
    with pytest.raises(UserError, match="Did you mean 'grad_cam'"):
        _ = Grader(classifier, {**manifest, "map_method": "gradcam"}).has_cam


def test_without_a_gate_images_are_graded_and_it_is_said(trained):
    classifier, manifest, _ = trained
    grader = Grader(classifier, manifest)
    (grade,) = grader.grade([("a.png", png("red", 1))])
    assert grade.status == "graded"
    assert grade.distance is None
    assert NOT_CHECKED in grade.notices
    assert "not compared" in grader.header.gate_sentence


def test_a_reader_that_stops_early_leaves_nothing_behind(grader):
    grades = grader.grade([(str(seed), png("red", seed)) for seed in range(40)])
    assert next(grades).name == "0"
    grades.close()
    assert [one.name for one in grader.grade([("again", png("blue"))])] == ["again"]


def test_no_items_no_grades(grader):
    assert list(grader.grade([])) == []


def test_opens_a_bundle_folder_its_zip_and_a_run(trained, tmp_path):
    from lib.models.bundles import export_bundle, save_bundle
    from lib.tracking import create_run

    classifier, manifest, gate = trained
    run = create_run({"dataset": "squares", "backbone": "mobilenet_v3_small", "strategy": "linear_probe"}, name="x")
    folder = run.folder / "bundle"
    save_bundle(folder, classifier, manifest, base_digest="")
    save_gate(folder / GATE_FILE, gate)
    write_json(folder / operating_point.FILE, stored_point().to_dict())
    export_bundle(folder, tmp_path / "whole.zip")
    expected = next(iter(Grader(classifier, manifest, gate=gate).grade([("a", png("red", 1))])))
    for source in (folder, str(tmp_path / "whole.zip"), run.run_id[:12]):
        grader = Grader.open(source, device="cpu")
        grade = next(iter(grader.grade([("a", png("red", 1))])))
        assert grade.confidence == pytest.approx(expected.confidence, abs=1e-6)
        assert grade.threshold == gate.threshold
        assert "Referable: Moderate and above: referred from 0.300 on" in grader.header.operating_point
    assert grader.run == run.run_id
    assert grader.header.dataset == "Coloured squares"


def test_a_run_without_a_classifier_and_unknown_runs_are_refused():
    from lib.tracking import create_run

    run = create_run({"dataset": "d", "backbone": "mobilenet_v3_small", "strategy": "linear_probe"}, name="x")
    with pytest.raises(UserError, match="has no classifier yet"):
        Grader.open(run.run_id)
    with pytest.raises(UserError, match="no run 'ffff'"):
        Grader.open("ffff")


def test_what_does_not_fit_together_is_refused(trained):
    classifier, manifest, gate = trained
    with pytest.raises(UserError, match="lacks its classes"):
        Grader(classifier, manifest | {"class_names": ["one"]})
    with pytest.raises(UserError, match="another network"):
        Grader(classifier, manifest, gate=Gate(gate.reference[:, :5], 0.1, 0.05, 20))


def test_skipped_files_become_rows():
    (row,) = skipped_grades([Skipped("a/.hidden", "Hidden file.")])
    assert (row.name, row.status, row.reason) == ("a/.hidden", "refused", "Hidden file.")


def test_preprocessing_of_the_manifest_is_applied_before_the_network(trained):
    classifier, manifest, _gate = trained
    steps = {"steps": "brightness", "mean_rgb": [90, 90, 90], "version": 1}
    changed = {**manifest, "preprocessing": {**manifest["preprocessing"], "enhancement": steps}}
    grader = Grader(classifier, changed)
    grade = next(iter(grader.grade([("a.png", png("red", 1))])))
    plain = next(iter(Grader(classifier, manifest).grade([("a.png", png("red", 1))])))
    assert grade.confidence < plain.confidence  # the colour that told the classes apart is gone
    assert np.array_equal(grade.pixels, plain.pixels)  # brightness moves no pixel: shown as it came


def _calibrated(trained, **options):
    classifier, manifest, gate = trained
    targets = np.arange(40) % classifier.num_classes
    scores = np.where(np.eye(classifier.num_classes)[targets] == 1, 0.9, 0.1 / (classifier.num_classes - 1))
    scores[::5] = scores[::5][:, ::-1]
    entry = calibration_entry(targets, scores, is_ordinal=False, fitted_on="validation images")
    return Grader(classifier, {**manifest, **entry}, gate=gate, options=GradingOptions(**options))


def test_a_calibrated_grade_shows_other_probabilities_and_a_set(trained, grader):
    (raw,) = grader.grade([("a.png", png("red", 1))])
    (grade,) = _calibrated(trained, coverage=0.8).grade([("a.png", png("red", 1))])
    assert (raw.prediction_set, raw.coverage) == ((), None)
    assert grade.scores == raw.scores
    assert grade.probabilities != raw.probabilities
    assert sum(grade.probabilities.values()) == pytest.approx(1)
    assert grade.class_name == grade.prediction_set[0] == "red"
    assert grade.coverage == 0.8


def test_with_too_many_classes_left_it_is_unsure(trained):
    grader = _calibrated(trained, coverage=0.99, largest_set=1)
    (grade,) = grader.grade([("a.png", png("red", 1))])
    assert (grade.status, grade.class_name, grade.cam) == ("unsure", None, None)
    assert len(grade.prediction_set) == len(grade.probabilities) == grader.classifier.num_classes
    assert "Unsure: " in grade.reason


def test_rotations_are_averaged_and_told(trained, grader):
    rotated = grader.deciding(GradingOptions(rotations=True))
    (grade,) = rotated.grade([("a.png", png("red", 1))])
    (upright,) = grader.grade([("a.png", png("red", 1))])
    pixels = upright.pixels
    each = [grader.scores(np.rot90(pixels, turns)[None].copy())[0][0] for turns in range(4)]
    assert grade.scores == pytest.approx(np.mean(each, axis=0), abs=1e-5)
    assert grade.distance == pytest.approx(upright.distance)  # of the upright image
    assert "the answer is the mean over four rotations" in grade.notices
    (told,) = _calibrated(trained, rotations=True).grade([("a.png", png("red", 1))])
    assert any("the calibration was fitted without them" in notice for notice in told.notices)


class _LeftHalf:
    """A network that sees the left half alone, so that turning an image changes its answer."""

    def __init__(self, network):
        self._network = network

    def __getattr__(self, name):
        return getattr(self._network, name)

    def read(self, batch, *wanted):
        return self._network.read(batch[..., : batch.shape[3] // 2].contiguous(), *wanted)


def test_rotations_change_what_a_lopsided_network_says(trained):
    classifier, manifest, gate = trained
    grader = Grader(classifier, manifest, gate=gate)
    grader.network = _LeftHalf(grader.network)
    two = make_pixels("red", 1)
    two[:, 16:] = make_pixels("blue", 2)[:, 16:]
    (upright,) = grader.grade([("a.png", encode(two))])
    (turned,) = grader.grade([("a.png", encode(np.rot90(two, 2).copy()))])
    (rotated,) = grader.deciding(GradingOptions(rotations=True)).grade([("a.png", encode(two))])
    assert upright.scores[0] > 0.8
    assert turned.scores[0] < 0.2
    assert 0.3 < rotated.scores[0] < 0.7
    assert rotated.distance == pytest.approx(upright.distance)


@pytest.mark.parametrize("options", [{"coverage": 1.0}, {"largest_set": 0}, {"prevalence": 0.0}])
def test_choices_that_there_are_not_are_refused(grader, options):
    with pytest.raises(UserError, match="received"):
        grader.deciding(GradingOptions(**options))


def test_only_ordered_grades_have_a_decision(trained, grader):
    (grade,) = grader.grade([("a.png", png("red", 1))])
    assert grade.decision is None
    classifier, manifest, gate = trained
    ordered = Grader(classifier, {**manifest, "dataset": {"name": "squares", "is_ordinal": True}}, gate=gate)
    (grade,) = ordered.grade([("a.png", png("red", 1))])
    assert (grade.decision.action, grade.decision.is_default) == ("screen again", True)


def test_two_classes_have_a_decision_where_a_point_is_stored(trained):
    classifier, manifest, gate = trained
    first, *_ = manifest["class_names"]
    point = dataclasses.replace(stored_point(), title=first, grade=None, positive=(first,))
    plain = {**manifest, "dataset": {"name": "squares", "is_ordinal": False}}
    (grade,) = Grader(classifier, plain, gate=gate, operating_point=point).grade([("a.png", png("red", 1))])
    referred = grade.scores[0] >= point.threshold
    assert (grade.decision.action, grade.decision.is_default) == ("refer" if referred else "screen again", False)
    assert f"Referable ({first})" in grade.decision.sentence
    other = dataclasses.replace(point, positive=("another",))
    (grade,) = Grader(classifier, plain, gate=gate, operating_point=other).grade([("a.png", png("red", 1))])
    assert grade.decision is None
