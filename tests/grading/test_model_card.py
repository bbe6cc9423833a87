"""The sentences on a calibration say what was fitted and what it is worth."""

import numpy as np
import pandas as pd

from lib.evaluation.calibration import calibration_entry
from lib.grading.model_card import CARD, answers_in_test, calibration_sentences, card_sentences


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


def test_the_card_reads_the_test_images_of_a_split_and_never_those_of_folds(tmp_path):
    path = tmp_path / "predictions.parquet"
    table = pd.DataFrame({
        "split": ["val"] * 30 + ["test"] * 10, "target": np.arange(40) % 2,
        "probability_0": 0.25, "probability_1": 0.75,
    })  # fmt: skip
    assert answers_in_test(path, 2) is None
    table.to_parquet(path)
    targets, raw = answers_in_test(path, 2)
    assert (len(targets), raw[0].tolist()) == (10, [0.25, 0.75])
    assert answers_in_test(path, 3) is None  # answers of another classifier
    entry = calibration_entry(np.arange(40) % 2, np.full((40, 2), 0.5), is_ordinal=False, fitted_on="validation images")
    found = card_sentences(entry, 2, coverage=0.8, predictions=path)
    assert found[1].startswith("On 10 test images the calibration error is ")
    assert found[2].startswith("Sets of 80 % coverage")
    table.assign(split="test").to_parquet(path)
    assert answers_in_test(path, 2) is None


def test_an_exported_bundle_brings_its_card_of_bounded_length():
    assert card_sentences({CARD: ["One.", "x" * 5000]}, 2) == ("One.", "x" * 600)
    assert len(card_sentences({CARD: ["x"] * 99}, 2)) == 8
    assert card_sentences({CARD: "x"}, 2)[0].startswith("Not calibrated")
