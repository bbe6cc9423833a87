import dataclasses
import time

import numpy as np
import pytest

from lib.data.enhancement import EnhancementChain
from lib.data.splits import assign_splits
from lib.data.target_map import map_targets
from lib.errors import Stopped, UserError
from lib.explain import stage_probes
from lib.explain.stage_probes import (
    NUM_FOLDS,
    RunNetwork,
    StageQuestion,
    measure_stages,
    probe_answers,
    probe_task,
    stage_rows,
)
from lib.explain.stage_reading import reading
from lib.features.engine import EngineChoice
from lib.features.stage_outputs import StagedSource
from lib.models.backbones import BACKBONES
from lib.models.seen_images import SeenImages
from lib.training import optimization
from tests.features.tiny_dataset import TinyDataset

SPEC = dataclasses.replace(BACKBONES.get("bundled_vgg"), input_size_px=48)


class Patients(TinyDataset):
    """Two images a patient, which no split parts."""

    def __post_init__(self) -> None:
        super().__post_init__()
        # Images of a patient are neighbours of the same class: 0, 2 and 1, 3 and so on.
        numbers = np.arange(self.num_images) // (2 * self.num_classes) * self.num_classes
        self.table["group_id"] = [f"p{n + t}" for n, t in zip(numbers, self.table["target"], strict=True)]

    def split(self, split_seed: int, *, num_folds: int | None = None, fold: int | None = None) -> np.ndarray:
        targets, groups = (self.table[column].to_numpy() for column in ("target", "group_id"))
        return assign_splits(targets, groups, None, split_seed=split_seed, num_folds=num_folds, fold=fold)


def graded(dataset: TinyDataset) -> TinyDataset:
    dataset.spec = dataclasses.replace(dataset.spec, is_ordinal=True)
    return dataset


def run_of(dataset: TinyDataset, *, seed: int = 0, seen: str = "train", trained_on: str = "v1") -> RunNetwork:
    """A run whose network is a frozen one, and which has seen one part of the split."""
    ids = dataset.table["image_id"].to_numpy()[dataset.split(0) == seen]
    source = StagedSource.published(SPEC, "random", seed=seed)
    return RunNetwork(
        "0123456789", "a run", dataclasses.replace(source, last="pool"), SeenImages.of(ids, ()), trained_on
    )


def test_enough_test_images_are_scored_by_probes_of_all_others() -> None:
    dataset = TinyDataset(num_images=400)
    task, split = probe_task(dataset, split_seed=3), dataset.split(3)
    [(fitted, held)] = task.folds
    assert np.array_equal(held, np.flatnonzero(split == "test"))
    assert np.array_equal(np.sort(np.concatenate([fitted, held])), np.arange(400))
    assert task.key != probe_task(dataset, split_seed=4).key


def test_few_test_images_are_scored_out_of_fold_with_patients_whole() -> None:
    dataset = Patients(num_images=60)
    task = probe_task(dataset)
    assert len(task.folds) == NUM_FOLDS
    assert np.array_equal(np.sort(task.rows), np.arange(60))
    groups = dataset.table["group_id"].to_numpy()
    for fitted, held in task.folds:
        assert not set(groups[fitted]) & set(groups[held])
    assert len(probe_task(dataset, is_held_out=True).folds) == 1


def test_a_class_smaller_than_the_folds_is_one_sentence() -> None:
    with pytest.raises(
        UserError, match=r"Class 'class 1' has 4 images; at least 5 are needed \(one for each of 5 folds"
    ):
        probe_task(TinyDataset(counts=(20, 4)))


def test_probes_tell_what_can_be_told_and_never_saw_what_they_answer() -> None:
    task, random = probe_task(TinyDataset(num_images=120, num_classes=3)), np.random.default_rng(0)
    truth = task.targets[task.rows]
    told = np.eye(3)[task.targets] + random.normal(0, 0.2, (120, 3))
    noise = random.normal(size=(120, 500))  # enough to fit every label by heart
    assert (probe_answers(told, task) == truth).all()
    assert (probe_answers(noise, task) == truth).mean() < 0.5


def test_rare_classes_are_weighted_where_trainings_weigh_them() -> None:
    assert stage_probes.IMBALANCE_LIMIT == optimization.IMBALANCE_LIMIT
    task = probe_task(TinyDataset(counts=(100, 20)))
    features = np.random.default_rng(0).normal(size=(120, 2)) + 0.8 * task.targets[:, None]
    rare = task.targets[task.rows] == 1
    recall = (probe_answers(features, task) == 1)[rare].mean()
    assert recall > 0.5  # without weights the rare class is hardly ever answered


def test_both_curves_are_measured_and_kept_the_pretrained_one_first(monkeypatch: pytest.MonkeyPatch) -> None:
    question = StageQuestion(TinyDataset(num_images=30), SPEC)
    seen: list[tuple[bool, tuple[str, ...]]] = []
    said: list[tuple[int, int, str]] = []

    def progress(done: int, total: int, what: str) -> None:
        kept = question.kept()
        seen.append((kept is not None, kept.curves if kept else ()))
        said.append((done, total, what))

    worth = measure_stages(question, progress=progress)
    assert seen[0] == (False, ())
    assert seen[-1] == (True, ("pretrained",))  # while images run through the random network
    assert (said[-1][:2], said[0][1]) == ((60, 60), 60)
    assert worth.curves == ("pretrained", "random")
    assert [row.stage for row in worth.rows] == list(SPEC.stage_names)
    assert worth.is_complete
    assert (worth.num_scored, worth.num_folds, worth.num_units) == (30, 5, 30)
    assert all(row.borrowed is not None and row.run is None for row in worth.rows)
    assert worth.rows[worth.best].pretrained.value == 1.0  # a tinted half can be told
    monkeypatch.setattr(stage_probes, "read_or_extract", lambda *a, **k: pytest.fail("computed again"))
    assert measure_stages(StageQuestion(TinyDataset(num_images=30), SPEC)) == worth


@pytest.mark.slow
def test_a_stop_keeps_the_curve_that_was_ready() -> None:
    question = StageQuestion(TinyDataset(num_images=30), SPEC)
    with pytest.raises(Stopped):
        measure_stages(question, should_stop=lambda: question.kept() is not None)
    kept = question.kept()
    assert kept is not None
    assert (kept.curves, kept.is_complete) == (("pretrained",), False)
    assert "Borrowed" not in reading(kept)
    assert measure_stages(question).is_complete


def test_grades_are_scored_by_kappa_and_merged_classes_by_accuracy() -> None:
    dataset = graded(TinyDataset(num_images=45, num_classes=3))
    assert probe_task(dataset).metric.key == "quadratic_weighted_kappa"
    merged = map_targets(dataset, "0,1,1")
    assert probe_task(merged).metric.key == "accuracy"
    asked = [StageQuestion(dataset, SPEC), StageQuestion(merged, SPEC, target_map="0,1,1")]
    assert asked[0].path != asked[1].path
    assert asked[0].requests["random"].key == asked[1].requests["random"].key  # the images are the same


@pytest.mark.slow
def test_a_run_is_scored_on_the_test_images_of_its_own_split_alone() -> None:
    dataset = TinyDataset(num_images=60)
    worth = measure_stages(StageQuestion(dataset, SPEC, run=run_of(dataset)))
    assert (worth.num_folds, worth.num_scored) == (0, 12)
    assert worth.curves == ("pretrained", "random", "run")
    last = [row.stage for row in worth.rows if row.run is not None][-1]
    assert last == "pool"  # where the run's network ends
    assert worth.rows[-1].gained is None
    # Its stages are those of the random network, to the last digit.
    assert all(row.run == row.random for row in worth.rows if row.run is not None)


@pytest.mark.slow
def test_a_run_that_reads_images_otherwise_says_so() -> None:
    dataset = TinyDataset(num_images=60)
    run = run_of(dataset)
    assert measure_stages(StageQuestion(dataset, SPEC, run=run)).note == ""
    inputs = dataclasses.replace(run.source.inputs, size_px=64, enhancement=EnhancementChain(("clahe",)))
    other = dataclasses.replace(run, source=dataclasses.replace(run.source, inputs=inputs))
    said = measure_stages(StageQuestion(dataset, SPEC, run=other)).note
    assert said == "The run's network reads images at 64 px instead of 48 and after the preprocessing clahe."


def test_a_run_that_has_seen_the_images_to_score_is_refused() -> None:
    dataset = TinyDataset(num_images=60)
    with pytest.raises(UserError, match="was trained or tuned on 12 of the 12 images that would be scored"):
        _ = StageQuestion(dataset, SPEC, run=run_of(dataset, seen="test")).task
    # On another data set all images are scored, so none of them may be one of the training.
    with pytest.raises(UserError, match="trained or tuned on 38 of the 60 images"):
        _ = StageQuestion(dataset, SPEC, run=run_of(dataset, trained_on="v0")).task


def test_a_network_that_was_never_pretrained_has_random_weights_alone() -> None:
    question = StageQuestion(TinyDataset(num_images=30), dataclasses.replace(BACKBONES.get("cnn_food")))
    assert list(question.requests) == ["random"]


def test_what_is_trained_when_cut_at_a_stage() -> None:
    source = StagedSource.published(BACKBONES.get("resnet18"), "random")
    rows = {row.stage: row for row in stage_rows(source.spec, source, num_classes=5)}
    assert rows["layer3"].head_parameters == 256 * 5 + 5
    assert rows["layer3"].right_parameters == 8_393_728 + 512 * 5 + 5  # layer 4 and the head behind it
    assert rows["layer4"].right_parameters == rows["layer4"].head_parameters == 512 * 5 + 5
    assert rows["logits"].right_parameters == 1000 * 5 + 5


@pytest.mark.slow
def test_probes_of_a_thousand_images_take_about_a_second() -> None:
    """Ten stages, five classes, 800 images to fit on; ten times the time on a quiet machine is allowed."""
    random, dataset = np.random.default_rng(0), TinyDataset(num_images=1000, num_classes=5)
    task, widths = probe_task(dataset), (32, 16, 24, 40, 80, 112, 192, 320, 1280, 1000)
    centres = [random.normal(0, 0.3, (5, width)) for width in widths]
    features = [own[task.targets] + random.normal(size=(1000, own.shape[1])) for own in centres]
    began = time.process_time()
    for own in features:
        probe_answers(own.astype(np.float32), task)
    assert time.process_time() - began < 10


def test_a_table_is_kept_for_all_that_it_depends_on_and_found_whatever_computes() -> None:
    dataset = TinyDataset(num_images=30)
    paths = {
        StageQuestion(dataset, SPEC, engine=EngineChoice(name), dtype="bfloat16").path for name in ("torch", "onnx")
    }
    assert len(paths) == 1
    paths |= {StageQuestion(dataset, SPEC, random_seed=1).path, StageQuestion(dataset, SPEC, split_seed=1).path}
    paths |= {StageQuestion(TinyDataset(num_images=30, version="v2"), SPEC).path}
    assert len(paths) == 4
