"""The gate at work: who turns an image away, what it is compared by, nearest cases, and in another home."""

import dataclasses

import numpy as np
import pytest

from lib.errors import UserError
from lib.features.judge import default_judge
from lib.grading.domain import DomainGate, Likeness, case_picture
from lib.grading.grader import Grader
from lib.grading.grades import DomainDistance
from lib.grading.taking_away import export_run
from lib.models.gate import GATE_FILE, Gate, save_gate
from lib.settings import runs_dir
from lib.training.domain import fit_domain
from tests.grading.squares import encode
from tests.moved_run import KeptDataset, manifest_of, save_run, tuned_classifier


@pytest.fixture(scope="module")
def dataset():
    return KeptDataset(num_images=80)


@pytest.fixture(scope="module")
def gate(dataset):
    """Of the fine-tuned network on coloured squares: the pretrained default judges."""
    split = dataset.split(0)
    fitted, held = np.flatnonzero(split == "train"), np.flatnonzero(split == "val")
    classifier = tuned_classifier()
    answers = np.random.default_rng(0).dirichlet([3, 3], len(held))
    return fit_domain(
        classifier, manifest_of(dataset), dataset, fit_rows=fitted, val_rows=held, probabilities=answers
    )  # fmt: skip


def fitted_gate(dataset, *, without=(), **rows):
    """Of the network as its own judge, which is quick."""
    split = dataset.split(0)
    fitted, held = (np.setdiff1d(rows.get(part, np.flatnonzero(split == part)), without) for part in ("train", "val"))
    answers = np.random.default_rng(0).dirichlet([3, 3], len(split))[held]
    return fit_domain(
        tuned_classifier(), manifest_of(dataset, "linear_probe"), dataset, fit_rows=fitted, val_rows=held,
        probabilities=answers,
    )  # fmt: skip


def flagged(rows, flag="ungradable: blurred"):
    dataset = KeptDataset(num_images=80)
    dataset.table["flags"] = ""
    dataset.table.loc[rows, "flags"] = flag
    for row in rows:  # far from all others
        dataset.pixels[row] = np.random.default_rng(row).integers(0, 256, (32, 32, 3))
    return dataset


def limits(gate):
    return [*(one.limit for one in gate.stages), gate.energy.limit, gate.energy.origin]


@pytest.mark.parametrize("is_out_of_fold", [False, True])
def test_what_cannot_be_graded_sets_no_limit_and_is_not_compared_with(dataset, is_out_of_fold):
    split, every = dataset.split(0), np.arange(80)
    parts = {"train": every, "val": every} if is_out_of_fold else {}
    poor = [*np.flatnonzero(split == "val")[:4], *np.flatnonzero(split == "train")[:6]]
    spoiled = flagged(poor)
    gate, by_hand = fitted_gate(spoiled, **parts), fitted_gate(spoiled, without=poor, **parts)
    assert gate.num_calibration == (len(every) if is_out_of_fold else (split == "val").sum()) - len(
        poor if is_out_of_fold else poor[:4]
    )
    assert not {*spoiled.table["image_id"][poor]} & {*gate.images.image_ids}
    assert limits(gate) == limits(by_hand)
    assert gate.images.image_ids == by_hand.images.image_ids
    unsaid = flagged(poor, flag="")
    assert max(np.divide(limits(fitted_gate(unsaid, **parts)), limits(gate))[:3]) > 1.2


def test_other_flags_and_none_at_all_change_nothing(dataset):
    plain, other = fitted_gate(dataset), KeptDataset(num_images=80)
    other.table["flags"] = ["turned upright; not ungradable" if row % 3 else None for row in range(80)]
    assert limits(fitted_gate(other)) == limits(plain)
    held = np.flatnonzero(dataset.split(0) == "val")
    other.table["flags"] = ["ungradable" if row in held else "" for row in range(80)]
    assert fitted_gate(other).num_calibration == len(held)  # nothing else could set a limit
    assert limits(fitted_gate(other)) == limits(plain)


def gate_at_work(gate, dataset, classifier=None):
    return DomainGate(gate, classifier or tuned_classifier(), manifest_of(dataset), device="cpu")


def looks(gate, dataset, pixels):
    answers = np.full((len(pixels), 2), 0.5)
    return gate_at_work(gate, dataset).likenesses(pixels, np.zeros((len(pixels), 8)), {}, answers)


def test_the_worst_comparison_decides_in_units_of_its_limit(gate, dataset):
    noise = np.random.default_rng(1).integers(0, 256, (1, 32, 32, 3)).astype(np.uint8)
    (own,) = looks(gate, dataset, dataset.pixels[np.flatnonzero(dataset.split(0) == "train")[:1]])
    (other,) = looks(gate, dataset, noise)
    assert own.is_passed
    assert not other.is_passed
    assert other.limit == 1.0
    assert other.distance == max(one.value / one.limit for one in other.domain)
    assert [one.title for one in own.domain] == [*(stage.title for stage in gate.stages), "Energy"]


def test_the_words_name_the_worst_by_hand():
    compared = (
        DomainDistance(title="Features at block2", value=0.02, limit=0.1),
        DomainDistance(title="Energy", value=3.0, limit=2.0),
    )
    assert Likeness(1.5, 1.0, compared).numbers == "energy 3.000, limit 2.000"
    assert Likeness(0.2, 1.0, compared[:1]).numbers == "features at block2: distance 0.020, limit 0.100"
    assert Likeness(0.2, 0.1).numbers == "feature distance 0.200, limit 0.100"
    assert Likeness().numbers == ""
    assert Likeness().is_passed


def test_nearest_cases_leave_the_image_out_and_name_its_class(gate, dataset):
    row = int(np.flatnonzero(dataset.split(0) == "train")[3])
    image_id = dataset.table["image_id"][row]
    work = gate_at_work(gate, dataset)
    (look,) = looks(gate, dataset, dataset.pixels[row : row + 1])
    cases = work.cases(look.similarities, "another", 3, is_seen=False)
    assert cases[0].image_id == image_id
    assert cases[0].distance == pytest.approx(0, abs=1e-3)
    assert cases[0].class_name == dataset.class_names[dataset.table["target"][row]]
    assert [one.distance for one in cases] == sorted(one.distance for one in cases)
    assert image_id not in {one.image_id for one in work.cases(look.similarities, image_id, 10, is_seen=True)}
    assert work.cases(look.similarities, "another", 0, is_seen=False) == ()
    assert case_picture(manifest_of(dataset), image_id) is None  # the data set is in no library


def test_gates_of_other_networks_are_refused(gate, dataset):
    with pytest.raises(UserError, match="compares features of 'vgg99'"):
        gate_at_work(dataclasses.replace(gate, judge="vgg99"), dataset)
    with pytest.raises(UserError, match="belongs to another network"):
        gate_at_work(dataclasses.replace(gate, judge="own"), dataset)
    with pytest.raises(UserError, match="belongs to another network"):
        gate_at_work(Gate(np.ones((3, 5), np.float16), 0.5, 0.05, 20), dataset)


def test_the_judge_reads_images_alike_alone_and_together(dataset):
    judge = default_judge()
    together = judge.read(dataset.pixels[:3])
    alone = judge.read(dataset.pixels[2:3])
    for stage in judge.stages:
        assert alone[stage][0] == pytest.approx(together[stage][2], abs=1e-4)


def test_a_fine_tuned_bundle_judges_alike_in_another_home(gate, home, tmp_path, monkeypatch):
    run_id = save_run(tmp_path / "tinted")
    save_gate(runs_dir() / run_id / "bundle" / GATE_FILE, gate)
    noise = np.random.default_rng(1).integers(0, 256, (32, 32, 3)).astype(np.uint8)
    new = KeptDataset(num_images=2, seed=5).pixels
    files = [("noise", encode(noise)), *((f"new {row}", encode(one)) for row, one in enumerate(new))]
    expected = list(Grader.open(run_id, device="cpu").grade(files))
    assert expected[0].status == "unlike"
    target = export_run(run_id, tmp_path / "model.zip")
    monkeypatch.setenv("TRANSFERSCOPE_HOME", str(tmp_path / "elsewhere"))
    for here, there in zip(expected, Grader.open(str(target), device="cpu").grade(files), strict=True):
        assert there.status == here.status
        assert there.distance == pytest.approx(here.distance, abs=1e-6)
        assert there.domain == here.domain
        assert [one.image_id for one in there.cases] == [one.image_id for one in here.cases]
