"""Picture quality of drawn eyes: what is turned away, with which reason, and what only looks like an eye."""

import json
from dataclasses import replace

import numpy as np
import pytest

from lib.data.fundus.photograph import UNGRADABLE_KINDS, draw_example
from lib.data.images import decode_bytes
from lib.data.input_transform import InputTransform
from lib.data.photograph_quality import MEASURE_NAMES
from lib.grading.grader import Grader
from lib.grading.grades import QualityReading, check_gates
from lib.grading.quality import quality_model, read_quality, reads_quality
from tests.grading.squares import encode


def eye(*, seed: int, fault: str = "") -> np.ndarray:
    """A stored square of a drawn eye; the kinds of fault follow the seeds."""
    if fault:
        seed = 4 * seed + UNGRADABLE_KINDS.index(fault)
    drawn = draw_example(2, size_px=320, seed=seed, is_ungradable=bool(fault))
    return decode_bytes(encode(drawn.pixels), side_px=288, crop_policy="retina_box").pixels


@pytest.mark.parametrize("kind", UNGRADABLE_KINDS)
def test_each_kind_is_turned_away_more_often_than_not_with_its_hint(kind):
    found = [read_quality(eye(seed=seed, fault=kind)).reading for seed in range(4)]
    stopped = [reading for reading in found if not reading.is_passed]
    assert len(stopped) >= 2
    assert kind in {reading.kind for reading in stopped}
    assert all(reading.hint.startswith("Take it again") and reading.reason for reading in stopped)


def test_most_good_eyes_pass_without_a_word():
    found = [read_quality(eye(seed=seed)).reading for seed in range(8)]
    passed = [reading for reading in found if reading.is_passed]
    assert len(passed) >= 6
    assert all((reading.kind, reading.reason, reading.hint) == ("", "", "") for reading in passed)
    assert list(passed[0].measures) == list(MEASURE_NAMES)


def test_the_probabilities_of_the_model_are_those_of_the_formula():
    model = quality_model()
    small = replace(
        model, kinds=("", "blurred"), centre=np.array([1.0]), scale=np.array([2.0]),
        weights=np.array([[0.0], [1.0]]), biases=np.array([0.0, 0.5]),
    )  # fmt: skip
    # (3 - 1) / 2 x 1 + 0.5 = 1.5, and e^1.5 / (1 + e^1.5) = 0.8176.
    assert small.probabilities(np.array([[3.0]]))[0] == pytest.approx([0.1824, 0.8176], abs=1e-4)
    assert model.kinds == ("", *UNGRADABLE_KINDS)
    assert 0 < model.limit < 1


def test_only_fundus_classifiers_with_large_enough_stores_ask():
    inputs = InputTransform(32, (0.5,) * 3, (0.2,) * 3, store_side_px=288, crop_policy="retina_box")
    assert reads_quality(inputs)
    assert not reads_quality(replace(inputs, crop_policy="center_square"))
    assert not reads_quality(replace(inputs, store_side_px=64))


@pytest.mark.parametrize("gate_passes", [True, False])
def test_a_spoiled_eye_is_too_poor_wherever_it_lies_and_a_strange_picture_stays_unlike(
    trained, gate_passes, monkeypatch
):
    classifier, manifest, gate = trained
    fundus = {**manifest["preprocessing"], "store_side_px": 288, "crop_policy": "retina_box"}
    limit = 1e9 if gate_passes else -1.0
    grader = Grader(classifier, {**manifest, "preprocessing": fundus}, gate=replace(gate, threshold=limit))
    disc = np.hypot(*np.mgrid[-1:1:288j, -1:1:288j]) < 0.97
    # A smooth reddish disc: nothing in it has an edge.
    blurred = (disc[..., None] * np.array([150, 80, 50])).astype(np.uint8)
    noise = np.random.default_rng(0).integers(0, 256, (288, 288, 3)).astype(np.uint8)
    with monkeypatch.context() as context:
        context.setattr("lib.grading.quality.measure_photograph", None)  # the decoders measure, beside the network
        poor, strange = grader.grade([("eye.png", encode(blurred)), ("noise.png", encode(noise))])
    assert poor.status == "ungradable"
    assert isinstance(poor.quality, QualityReading)
    assert "Take it again" in poor.reason
    assert (poor.class_name, poor.probabilities) == (None, {})
    assert check_gates(poor)[2].level != "passed"
    assert gate_passes or strange.status == "unlike"
    # Where the pixels are at hand they are measured here: the same, and of the training's own data set nothing is
    # turned away.
    assert grader.answer(blurred).status == "ungradable"
    assert grader.answer(blurred, is_own=True).status == "graded"
    json.dumps(poor.quality.measures)


def test_other_classifiers_ask_nothing(grader):
    [grade] = grader.grade([("a.png", encode(np.zeros((32, 32, 3), np.uint8)))])
    assert grade.quality is None
