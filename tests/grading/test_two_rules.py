"""One verdict everywhere: a case in which the two rules name different classes, and one that is turned away."""

import csv
import io
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from lib.experiment import run_experiment
from lib.explain.attribution import grad_cam
from lib.explain.explanation import explain, explain_image
from lib.grading.grader import Grader
from lib.grading.grades import Grade, GradingOptions, check_gates
from lib.grading.report import to_csv, to_html, to_json, to_table
from lib.models.classifier import build_classifier
from lib.models.stages import build_backbone
from lib.training.config import TrainConfig
from tests.experiment.test_running import Run
from tests.features.tiny_dataset import TinyDataset
from tests.grading.squares import FIRST_STAGE, encode, make_pixels, png

NAMES = ("none", "mild", "moderate", "severe")
LIMITS = [0.5, 1.5, 2.2]
NOISE = np.random.default_rng(0).integers(0, 256, (32, 32, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def torn(trained):
    """(classifier, manifest, gate) whose most probable class is severe, while the expected grade is 1.9 or so."""
    classifier, manifest, gate = trained
    backbone = build_backbone("mobilenet_v3_small", weights="random", seed=0)
    backbone.stages[FIRST_STAGE].load_state_dict(classifier.stages[FIRST_STAGE].state_dict())
    graded = build_classifier(backbone.eval(), head="linear", num_classes=4, feature_stage=FIRST_STAGE).eval()
    with torch.no_grad():
        generator = torch.Generator().manual_seed(0)
        graded.head.weight.copy_(0.01 * torch.randn(graded.head.weight.shape, generator=generator))
        graded.head.bias.copy_(torch.log(torch.tensor([0.3, 0.05, 0.1, 0.55])))
    return graded, manifest | {"class_names": list(NAMES), "thresholds": LIMITS}, gate


@pytest.fixture(params=["most probable class", "expected grade"])
def judged(torn, request):
    """The grader under each rule, and the class that it must name."""
    classifier, manifest, gate = torn
    by_thresholds = request.param == "expected grade"
    grader = Grader(
        classifier, manifest, gate=gate, options=GradingOptions(by_thresholds=by_thresholds, with_maps=True)
    )
    return grader, "moderate" if by_thresholds else "severe"


def test_every_place_names_the_verdicts_class(judged):
    grader, expected = judged
    grades = list(grader.grade([("a.png", png("red", 1)), ("noise.png", encode(NOISE))]))
    header = grader.header
    assert (grades[0].class_name, grades[0].rule) == (expected, header.rule)
    assert check_gates(grades[0])[2].title.removesuffix("?") == f"Graded: {expected}"
    assert to_table(grades, header)["class"].tolist() == [expected, ""]
    row, refused = csv.DictReader(io.StringIO(to_csv(grades, header)))
    assert (row["class"], row["decided by"], refused["class"], refused["decided by"]) == (expected, header.rule, "", "")
    assert float(row["confidence"]) == pytest.approx(float(row[f"probability of {expected}"]))
    assert ("expected grade" in row) == header.is_by_expected_grade
    content = json.loads(to_json(grades, header))
    assert content["rule"] == content["images"][0]["rule"] == header.rule
    assert content["images"][0]["class_name"] == expected
    assert "probability of the class that is given" in content["confidence_meaning"]
    page = to_html(grades, header)
    assert f"<strong>{expected}</strong>" in page
    assert f"Where {expected} is seen in a.png" in page
    assert page.count("<strong>") == 1  # none for the image that is turned away


def test_the_map_is_of_the_verdicts_class(judged):
    grader, expected = judged
    (grade,) = grader.grade([("a.png", png("red", 1))])
    batch = grader.inputs.batch(make_pixels("red", 1)[None])
    maps = [grad_cam(grader.classifier, batch, stage=FIRST_STAGE, target=target).maps[0] for target in range(4)]
    assert np.allclose(grade.cam, maps[NAMES.index(expected)], atol=1e-6)
    assert not np.allclose(maps[2], maps[3], atol=0.05)


def test_an_explanation_answers_with_the_verdict(judged, tmp_path):
    grader, expected = judged
    pixels = make_pixels("red", 1)
    verdict = grader.answer(pixels)
    said = explain(pixels, grader.classifier, preprocessing=grader.inputs, class_names=NAMES, verdict=verdict)
    assert (said.target_name, said.is_predicted, said.is_refused) == (expected, True, False)
    assert said.score == pytest.approx(verdict.confidence)
    assert ("expected grade" in said.describe_target()) == grader.header.is_by_expected_grade
    cam = said.cams[FIRST_STAGE].maps[0]
    (grade,) = grader.grade([("a.png", png("red", 1))])
    assert np.allclose(cam, grade.cam, atol=1e-6)
    written = explain_image(
        pixels, grader.classifier, grader.inputs, NAMES, out=tmp_path / "a.png", verdict=verdict, target="none"
    )
    assert (written["class_name"], written["is_predicted"], written["rule"]) == ("none", False, grader.header.rule)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_every_entrance_computes_in_the_number_format_of_the_training(torn, dtype):
    """The head of a frozen network met features of one format; maps are drawn in float32, the answer is not."""
    classifier, manifest, gate = torn
    preprocessing = manifest["preprocessing"] | {"dtype": dtype}
    grader = Grader(classifier, manifest | {"preprocessing": preprocessing}, gate=gate)
    items = [(kind, png(kind, seed)) for seed, kind in enumerate(("red", "blue", "red", "blue", "red"))]
    for (kind, _), seed, grade in zip(items, range(5), grader.grade(items), strict=True):
        pixels = make_pixels(kind, seed)
        verdict = grader.answer(pixels)
        said = explain(pixels, classifier, preprocessing=preprocessing, class_names=NAMES, verdict=verdict)
        assert said.probabilities == pytest.approx(np.array(grade.scores), abs=1e-6)
        assert verdict.distance == pytest.approx(grade.distance, abs=1e-6)
        in_float32 = explain(pixels, classifier, preprocessing=preprocessing, class_names=NAMES).probabilities
        assert (np.abs(in_float32 - said.probabilities).max() < 1e-6) == (dtype == "float32")


def test_a_refused_image_has_no_answer_under_either_rule(judged, tmp_path):
    grader, _ = judged
    verdict = grader.answer(NOISE)
    common = {"preprocessing": grader.inputs, "class_names": NAMES, "verdict": verdict}
    said = explain(NOISE, grader.classifier, **common)
    assert (said.is_refused, said.is_predicted, said.cams) == (True, False, None)
    assert said.notice.startswith("Unlike")
    assert "No class is given" in said.notice
    asked = explain(NOISE, grader.classifier, target="severe", **common)
    assert asked.cams is not None
    assert "does not count" in asked.describe_target()
    assert "does not say that the class is in the image" in asked.notice
    written = explain_image(NOISE, grader.classifier, grader.inputs, NAMES, out=tmp_path / "a.png", verdict=verdict)
    assert (written["status"], written["class_name"], written["score"], written["top"]) == ("unlike", None, None, [])
    assert written["method"] == "Mean activation"


def test_images_of_the_runs_own_data_set_pass_and_tell_their_distance(judged):
    grader, _ = judged
    own = grader.answer(NOISE, is_own=True)
    assert own.is_graded
    assert own.distance > own.threshold
    assert own.reason.startswith("An image of the data set that this network was trained on: feature distance")
    assert not grader.answer(NOISE).is_graded


@pytest.mark.slow
@pytest.mark.parametrize("num_folds", [None, 2])
def test_merged_grades_of_a_training_keep_gate_and_both_rules(monkeypatch, tmp_path, num_folds):
    """Five grades merged to three, with and without folds: card, explanation and refusal are of the merged classes."""
    dataset = TinyDataset(num_images=50, num_classes=5)
    dataset.spec = replace(dataset.spec, is_ordinal=True)
    monkeypatch.setattr("lib.data.importing.resolve_dataset", lambda name, progress: dataset)
    config = TrainConfig(
        dataset="tiny", backbone="mobilenet_v3_small", weights="random", input_size_px=32, dtype="float32",
        strategy="linear_probe", target_map="0,0,1,2,2", num_folds=num_folds,
    )  # fmt: skip
    run_experiment(config, Run(tmp_path / "run"), should_stop=lambda: False)
    grader = Grader.open(tmp_path / "run" / "bundle", device="cpu")
    assert (len(grader.class_names), grader.gate is None, len(grader.manifest["thresholds"])) == (3, False, 2)
    # By hand: all expected grades lie between these limits, so that the second rule always says the middle class. They
    # are of the network's own probabilities, so that a calibration with its own limits must not be there.
    grader.manifest |= {"thresholds": [-1.0, 3.0], "calibration": None}
    grader.calibration = None
    pixels = np.array(dataset.pixels[0])
    likely, expected = (grader.deciding(GradingOptions(by_thresholds=rule)) for rule in (False, True))
    verdicts = likely.answer(pixels, is_own=True), expected.answer(pixels, is_own=True)
    assert verdicts[0].target == int(np.argmax(verdicts[0].scores))
    assert verdicts[1].class_name == grader.class_names[1]
    for one, verdict in zip((likely, expected), verdicts, strict=True):
        card = check_gates(Grade.of(verdict, "a"))[2]
        assert card.title.removesuffix("?") == f"Graded: {verdict.class_name}"
        assert set(verdict.probabilities) == set(grader.class_names)
        strange = encode(np.random.default_rng(1).integers(0, 2, (32, 32, 3)).astype(np.uint8) * 255)
        (refused,) = one.grade([("strange.png", strange)])
        assert (refused.status, refused.class_name) == ("unlike", None)
