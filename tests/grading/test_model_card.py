"""The sentences on a calibration say what was fitted and what it is worth."""

import numpy as np

from lib.evaluation.calibration import calibration_entry
from lib.grading.model_card import calibration_sentences


def test_sentences_of_a_calibrated_classifier():
    targets = np.arange(40) % 2
    probabilities = np.where(np.eye(2)[targets] == 1, 0.9, 0.1)
    probabilities[:4] = probabilities[:4, ::-1]  # 4 of 40 wrong: 0.9 comes true
    entry = calibration_entry(targets, probabilities, is_ordinal=False, fitted_on="validation images")
    own, tested, sets, gain = calibration_sentences(entry, 2, tested=(targets, probabilities))
    assert own.startswith("Calibrated on 40 validation images: temperature 1.00; ")
    assert own.endswith("from 0.000 to 0.000.")
    assert "On 40 test images the calibration error is 0.000 (" in tested
    # ceil(41 * 0.9) = 37 of 40 scores: the first that is a wrong one, so both classes are in every set.
    assert sets.startswith("Sets of 90 % coverage held the right class of 100.0 % of them")
    assert gain.startswith("On the answers of the calibration: With the least confident fifth")
    assert calibration_sentences(entry, 2) == [own, gain]


def test_sentences_of_a_classifier_without_one():
    assert calibration_sentences({"calibration": None, "why_not_calibrated": "Not calibrated: few."}, 2) == [
        "Not calibrated: few."
    ]
    assert calibration_sentences({}, 2)[0].startswith("Not calibrated: this classifier is of before that")
