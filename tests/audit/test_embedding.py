"""The probe and what it doubts, on features worked out by hand."""

import dataclasses

import numpy as np
import pytest

from lib.audit.audited import AuditedImages, NotMeasured
from lib.audit.embedding import confident_errors, label_errors, margins, out_of_fold, outliers
from lib.data.dataset import Dataset


class FakeDataset:
    """Two grades with features of their own; images come in pairs of one patient."""

    def __init__(self, targets, groups=None, *, is_ordinal=False, class_names=("a", "b")):
        import pandas as pd

        self.num_images = len(targets)
        ids = [f"i{row:03d}" for row in range(len(targets))]
        columns = {"image_id": ids, "path": [f"{one}.png" for one in ids], "target": targets}
        self.table = pd.DataFrame({**columns, "group_id": groups or [""] * len(ids)})
        self.class_names = self.class_sources = class_names
        self.spec = dataclasses.make_dataclass("Spec", ["is_ordinal"])(is_ordinal)
        self.has_exclusion = np.zeros(len(targets), dtype=bool)

    def class_of(self, row):
        return self.class_names[self.table["target"][row]]

    def split(self, seed):
        return np.full(self.num_images, "train")


class FakeCopies:
    groups: list = []  # noqa: RUF012


def audited_of(dataset, features):
    audited = AuditedImages(dataset)
    audited.__dict__.update(features=np.asarray(features, dtype=np.float32), copies=FakeCopies())
    return audited


def separable(targets, *, seed=0, far=3.0):
    random = np.random.default_rng(seed)
    return random.normal(size=(len(targets), 8)) + far * np.eye(8)[np.asarray(targets)]


def test_confident_learning_by_hand():
    probabilities = np.array([[0.9, 0.1], [0.7, 0.3], [0.2, 0.8], [0.1, 0.9], [0.4, 0.6], [0.75, 0.25]])
    targets = np.array([0, 0, 0, 1, 1, 1])
    # Means of the own class: 0.6 for class 0, (0.9 + 0.6 + 0.25) / 3 = 0.583 for class 1.
    assert confident_errors(probabilities, targets).tolist() == [-1, -1, 1, -1, -1, 0]


def test_a_swapped_label_is_doubted_first_and_says_what_it_would_be():
    targets = np.repeat([0, 1], 20)
    features = separable(targets, far=6.0)
    targets[[3, 30]] = [1, 0]
    found, num_images, said = label_errors(audited_of(FakeDataset(targets), features))
    assert num_images == 40
    assert {finding.image_ids[0] for finding in found[:2]} == {"i003", "i030"}
    by_id = {finding.image_ids[0]: finding for finding in found}
    assert (by_id["i003"].relabel_to, by_id["i030"].relabel_to) == ("a", "b")
    assert 0.5 < by_id["i003"].score <= 1
    assert "of the labels of 40 images (mean over classes; chance is 50.0 %)" in said


def test_images_of_a_patient_and_copies_are_never_judged_by_each_other():
    targets = np.repeat([0, 1], 20)
    features = separable(targets)
    groups = [f"p{row // 2}" for row in range(40)]
    audited = audited_of(FakeDataset(targets, groups), features)
    assert len(np.unique(audited.units)) == 20
    copies = FakeCopies()
    copies.groups = [np.array([0, 39]), np.array([2, 4, 6])]
    audited = audited_of(FakeDataset(targets, groups), features)
    audited.__dict__["copies"] = copies
    assert audited.units[0] == audited.units[39] == audited.units[38]
    assert len(np.unique(audited.units)) == 17
    # A patient of two swapped images: both are judged by others and both are doubted.
    swapped = targets.copy()
    swapped[[6, 7]] = 1
    doubts = out_of_fold(audited_of(FakeDataset(swapped, groups), features), features)
    assert (margins(doubts, swapped)[[6, 7]] > 0).all()


def test_a_grade_beside_is_a_minor_doubt():
    targets = np.repeat([0, 1, 2], 15)
    features = separable(targets, far=4.0)
    swapped = targets.copy()
    swapped[[0, 1]] = [1, 2]
    dataset = FakeDataset(swapped, is_ordinal=True, class_names=("none", "mild", "severe"))
    by_id = {one.image_ids[0]: one for one in label_errors(audited_of(dataset, features))[0]}
    assert by_id["i000"].severity == "minor"
    assert "one grade away, where graders often differ" in by_id["i000"].sentence
    assert by_id["i001"].severity != "minor"


def test_a_weak_probe_says_so_and_one_of_chance_is_no_measure():
    targets = np.repeat([0, 1], 60)
    found, _, said = label_errors(audited_of(FakeDataset(targets), separable(targets, far=0.9)))
    assert "That is weak" in said
    assert 0 < len(found) <= 30
    assert {finding.severity for finding in found} == {"minor"}
    with pytest.raises(NotMeasured, match="its doubts would say nothing"):
        label_errors(audited_of(FakeDataset(targets), separable(targets, far=0.0, seed=2)))


def test_a_class_of_few_is_not_judged():
    targets = np.array([0] * 10 + [1] * 10 + [2] * 4)
    dataset = FakeDataset(targets, class_names=("a", "b", "c"))
    doubts = out_of_fold(audited_of(dataset, separable(targets)), separable(targets))
    assert doubts.rows.tolist() == list(range(20))
    assert doubts.chance == 0.5
    with pytest.raises(NotMeasured, match="Too few images: at least 5"):
        out_of_fold(audited_of(FakeDataset([0] * 10 + [1] * 4), separable(targets)), separable(targets))


def test_excluded_images_are_neither_judged_nor_learned_from():
    targets = np.repeat([0, 1], 20)
    features = separable(targets)
    dataset = FakeDataset(targets)
    dataset.has_exclusion[[0, 25]] = True
    audited = audited_of(dataset, features)
    doubts = out_of_fold(audited, features)
    assert len(doubts.rows) == 38
    assert not {0, 25} & set(doubts.rows.tolist())
    targets = np.repeat([0, 1], 25)
    features = separable(targets, far=20.0)
    features[0] = 20.0 * np.eye(8)[5]
    dataset = FakeDataset(targets)
    assert [one.image_ids for one in outliers(audited_of(dataset, features))[0]] == [("i000",)]
    dataset.has_exclusion[0] = True
    assert not outliers(audited_of(dataset, features))[0]


def test_what_is_far_from_its_class_is_an_outlier():
    targets = np.repeat([0, 1], 25)
    features = separable(targets, far=20.0)
    features[7] = 20.0 * np.eye(8)[5]
    found, num_images, _ = outliers(audited_of(FakeDataset(targets), features))
    assert [finding.image_ids for finding in found] == [("i007",)]
    assert num_images == 50
    with pytest.raises(NotMeasured, match="at least 20 of one class"):
        outliers(audited_of(FakeDataset(targets[15:35]), features[15:35]))


def test_the_stand_in_has_what_checks_read():
    assert all(hasattr(Dataset, name) for name in ("split", "has_exclusion", "class_of", "stored_targets"))
