import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import nn

from lib.errors import Stopped, UserError
from lib.explain import drift_measurement
from lib.explain.drift_measurement import measure_drift, weight_changes
from lib.grading.fine_tuned import drift_question
from tests.moved_run import KeptDataset, tuned_grader


def stage(weight: float, scale: float, mean: float) -> nn.Sequential:
    """A convolution with weights (3w, 4w), BatchNorm with two scales and shifts of 0, means m and variances of 1."""
    module = nn.Sequential(nn.Conv2d(1, 2, 1, bias=False), nn.BatchNorm2d(2), nn.ReLU())
    with torch.no_grad():
        module[0].weight.copy_(weight * torch.tensor([3.0, 4.0]).reshape(2, 1, 1, 1))
        module[1].weight.fill_(scale)
        module[1].running_mean.fill_(mean)
    return module


def test_relative_changes_by_kind_worked_out_by_hand() -> None:
    before, after = stage(1.0, 1.0, 0.0), stage(1.1, 1.0, 3.0)
    found = weight_changes(before, after)
    assert found["weights"] == pytest.approx(0.1)  # (0.3, 0.4) over (3, 4)
    assert found["normalization"] == 0.0  # exactly
    assert found["statistics"] == pytest.approx(3.0)  # (3, 3) over variances (1, 1)
    assert found["total"] == pytest.approx(0.5 / math.sqrt(25 + 2))
    assert set(weight_changes(before, before).values()) == {0.0}
    nothing = weight_changes(nn.Flatten(), nn.Flatten())
    assert all(math.isnan(value) for value in nothing.values())


def test_frozen_stages_did_not_move_at_all_and_trained_ones_did() -> None:
    grader, dataset = tuned_grader(), KeptDataset(num_images=80)
    seen = []
    found = measure_drift(drift_question(grader, dataset, label="Tuned"), progress=lambda *said: seen.append(said))
    by_stage = {row.stage: row for row in found.rows}
    for name in ("block1", "block2", "block3"):
        row = by_stage[name]
        assert (row.weights, row.total, row.is_trained) == (0.0, 0.0, False)
        assert (row.cka.value, row.cka.low, row.cka.high) == (1, 1, 1)
        assert (row.gained.value, row.gained.low, row.gained.high) == (0, 0, 0)
        assert row.channels == ()
    for name in ("block4", "block5"):
        row = by_stage[name]
        assert 0 < row.weights < 1
        assert row.is_trained
        assert row.cka.low < row.cka.value < 1
        assert row.channels[0].correlation < row.channels[1].correlation < 1
    # Those who were never seen are compared: the test images.
    test_images = set(dataset.table["image_id"][dataset.split(0) == "test"])
    assert found.num_images == len(test_images) == found.num_units
    assert found.is_held_out
    assert set(by_stage["block5"].channels[0].after) <= test_images
    assert found.start.startswith("pretrained on ")
    assert found.metric == "accuracy"
    assert all(0 <= done <= total for done, total, _ in seen)
    assert {what for *_, what in seen} >= {"images through the start", "images through the run's network"}


def test_what_was_measured_is_read_again_and_belongs_to_run_and_images(monkeypatch) -> None:
    grader, dataset = tuned_grader(), KeptDataset(num_images=80)
    question = drift_question(grader, dataset)
    found = measure_drift(question)
    monkeypatch.setattr(drift_measurement, "read_or_extract", None)  # would fail
    assert measure_drift(drift_question(grader, dataset)).to_dict() == found.to_dict()
    assert drift_question(grader, KeptDataset(num_images=60)).path != question.path
    question.path.write_text("{}")
    assert question.kept() is None  # damaged: measured anew


def test_it_stops_and_leaves_no_half_table() -> None:
    question = drift_question(tuned_grader(), KeptDataset(num_images=80))
    with pytest.raises(Stopped):
        measure_drift(question, should_stop=lambda: True)

    def listener(done: int, total: int, what: str) -> None:
        raise Stopped

    with pytest.raises(Stopped):
        measure_drift(question, progress=listener)
    assert question.kept() is None


def test_a_start_that_is_not_the_run_s_own_is_refused() -> None:
    grader = tuned_grader()
    with torch.no_grad():
        next(iter(grader.classifier.stages["block1"].parameters())).add_(1)
    with pytest.raises(UserError, match="The frozen stage 'block1' of the run 01234567 is not that of"):
        measure_drift(drift_question(grader, KeptDataset(num_images=80)))


def test_where_images_were_seen_there_are_no_probes_and_it_is_said() -> None:
    """A run with folds has seen all images of its data set: weights and answers can be compared even so."""
    dataset = KeptDataset(num_images=80)
    grader = tuned_grader(dataset)
    ids = dataset.table["image_id"]
    grader.seen = dataclasses.replace(grader.seen, fitted=type(grader.seen).of(ids, ()).fitted)
    found = measure_drift(drift_question(grader, dataset))
    assert "trained or tuned on" in found.why_no_probes
    assert (found.num_images, found.is_held_out) == (80, False)
    assert all(row.probe_before is None for row in found.rows)
    assert found.rows[-1].cka.value < 1


def test_patients_are_kept_together_and_counted() -> None:
    dataset = KeptDataset(num_images=80)
    dataset.table["group_id"] = [f"p{row // 2}" for row in range(80)]
    split = np.repeat(np.array(["train"] * 28 + ["val"] * 4 + ["test"] * 8), 2)
    dataset.split = lambda *_, **__: split
    found = measure_drift(drift_question(tuned_grader(dataset), dataset))
    assert (found.num_images, found.num_units) == (16, 8)


def test_fewer_than_four_images_cannot_be_compared() -> None:
    question = drift_question(tuned_grader(), KeptDataset(num_images=80))
    question.__dict__["images"] = np.arange(3)
    with pytest.raises(UserError, match="Answers to 3 images cannot be compared; it takes four"):
        measure_drift(question)
