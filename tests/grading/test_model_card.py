"""The sentences on a calibration say what was fitted and what it is worth."""

import re

import numpy as np
import pandas as pd

from lib.evaluation.calibration import BY_OTHERS, calibration_entry
from lib.grading.model_card import CARD, answers_in_test, calibration_sentences, card_sentences


def test_sentences_of_a_calibrated_classifier():
    targets = np.arange(40) % 2
    probabilities = np.where(np.eye(2)[targets] == 1, 0.9, 0.1)
    probabilities[:4] = probabilities[:4, ::-1]  # 4 of 40 wrong: 0.9 comes true
    entry = calibration_entry(targets, probabilities, is_ordinal=False, fitted_on="validation images")
    own, tested, sets, gain = calibration_sentences(entry, 2, tested=(targets, probabilities, np.zeros(40, int)))
    assert own.startswith("Calibrated on 40 validation images: temperature 1.00; ")
    assert own.endswith("from 0.000 to 0.000.")
    assert tested.startswith("On 40 test images the calibration error is 0.000")
    # ceil(41 * 0.9) = 37 of 40 scores: the first that is a wrong one, so both classes are in every set.
    assert sets.startswith("Sets of 90 % coverage held the right class of 100.0 % of them")
    assert gain.startswith("On the answers of the calibration: With the least confident fifth")
    assert calibration_sentences(entry, 2) == [own, gain]


def test_sentences_of_a_classifier_without_one():
    assert calibration_sentences({"calibration": None, "why_not_calibrated": "Not calibrated: few."}, 2) == [
        "Not calibrated: few."
    ]
    assert calibration_sentences({}, 2)[0].startswith("Not calibrated: this classifier is of before that")


def test_the_card_reads_the_test_images_of_a_split(tmp_path):
    path = tmp_path / "predictions.parquet"
    table = pd.DataFrame({
        "split": ["val"] * 30 + ["test"] * 10, "fold": 0, "target": np.arange(40) % 2,
        "probability_0": 0.25, "probability_1": 0.75,
    })  # fmt: skip
    assert answers_in_test(path, 2) is None
    table.to_parquet(path)
    targets, raw, folds = answers_in_test(path, 2)
    assert (len(targets), raw[0].tolist(), set(folds)) == (10, [0.25, 0.75], {0})
    assert answers_in_test(path, 3) is None  # answers of another classifier
    entry = calibration_entry(np.arange(40) % 2, np.full((40, 2), 0.5), is_ordinal=False, fitted_on="validation images")
    found = card_sentences(entry, 2, coverage=0.8, predictions=path)
    assert found[1].startswith("On 10 test images the calibration error is ")
    assert found[2].startswith("Sets of 80 % coverage")
    assert not any("not promised" in sentence for sentence in found)
    table.assign(split="val").to_parquet(path)
    assert answers_in_test(path, 2) is None


def test_the_card_of_a_run_with_folds_says_out_of_fold_and_promises_nothing(tmp_path):
    generator = np.random.default_rng(0)
    true = generator.dirichlet(np.ones(3), size=300)
    targets = (generator.random(300)[:, None] > true.cumsum(1)).sum(1).clip(max=2)
    columns = {f"probability_{number}": true[:, number] for number in range(3)}
    path = tmp_path / "predictions.parquet"
    pd.DataFrame({"split": "test", "fold": np.arange(300) % 5, "target": targets, **columns}).to_parquet(path)
    fitted_on = f"images, {BY_OTHERS} the fold that had not seen it"
    entry = calibration_entry(targets, true, is_ordinal=False, fitted_on=fitted_on)
    own, error, sets, caveat, gain = card_sentences(entry, 3, coverage=0.8, predictions=path)
    assert own.startswith("Calibrated on 300 images, each answered by the fold that had not seen it: temperature")
    assert error.startswith("Out of fold, 300 images in 5 folds, each calibrated by the answers of the other folds (")
    assert "this classifier has no test images of its own" in error
    value, low, high = map(float, re.search(r"error is (\S+) \((\S+) to (\S+)\) before", error).groups())
    assert low < 0.03 < value < high  # the probabilities are true: chance alone makes an error, also in resamples
    held = re.fullmatch(r"Sets of 80 % coverage held the right class of (\S+) % of them \((\S+) to (\S+) %\), .*", sets)
    assert float(held[2]) < 80 < float(held[3])
    assert caveat.endswith("its sets are expected to have about 80 % coverage or more, which is not promised.")
    assert gain.startswith("On the answers of the calibration: With the least confident fifth")
    # A bundle that is elsewhere has no answers beside it, and says what its sets are all the same.
    assert card_sentences(entry, 3, coverage=0.8) == (own, caveat, gain)


def test_no_fold_is_judged_by_its_own_answers():
    """Fold 0 is always wrong with certainty: calibrated by the other one its sets hold the right class of no image."""
    targets, folds = np.arange(80) % 2, np.repeat([0, 1], 40)
    probabilities = np.where(np.eye(2)[targets] == 1, 0.9, 0.1)
    probabilities[folds == 0] = probabilities[folds == 0][:, ::-1]
    entry = calibration_entry(targets, probabilities, is_ordinal=False, fitted_on=f"images, {BY_OTHERS} the fold")
    sets = calibration_sentences(entry, 2, coverage=0.5, tested=(targets, probabilities, folds))[2]
    assert sets.startswith("Sets of 50 % coverage held the right class of 50.0 % of them")


def test_an_exported_bundle_brings_its_card_of_bounded_length():
    assert card_sentences({CARD: ["One.", "x" * 5000]}, 2) == ("One.", "x" * 600)
    assert len(card_sentences({CARD: ["x"] * 99}, 2)) == 8
    assert card_sentences({CARD: "x"}, 2)[0].startswith("Not calibrated")
