"""Flat folders with label files by the command: imported, trained, scored; and everything that may be wrong."""

import csv
import json

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import cohen_kappa_score

from lib import tracking
from lib.data.grades import GRADE_NAMES
from lib.data.library import list_datasets, open_dataset
from tests.cli.conftest import TRAIN


def write_labels(path, header, rows):
    with path.open("w", newline="") as opened:
        csv.writer(opened).writerows([header, *rows])


def write_eyes(folder, num_patients=15):
    """Both eyes of some patients in one flat folder, as the retinopathy competition of 2015 gave them; returns it."""
    folder.mkdir()
    random = np.random.default_rng(0)
    rows = []
    for patient in range(num_patients):
        for eye in ("left", "right"):
            pixels = random.integers(0, 256, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{patient}_{eye}.png")
            rows.append((f"{patient}_{eye}", patient % 2))
    write_labels(folder / "trainLabels.csv", ("image", "level"), rows)
    return folder


def write_graded_eyes(root, num_patients=40):
    """Both eyes of patients, bright discs on black in five grades, in a flat train/ beside trainLabels.csv."""
    (root / "train").mkdir(parents=True)
    random = np.random.default_rng(1)
    y, x = (np.mgrid[:72, :72] + 0.5 - 36) / 36
    rows = []
    for patient in range(num_patients):
        for eye in ("left", "right"):
            level = np.array([90 + 30 * (patient % 5), 60, 40]) + random.normal(0, 12, 3)
            pixels = np.clip(random.normal(level, 10, size=(72, 72, 3)), 0, 255) * (np.hypot(x, y) < 0.95)[..., None]
            Image.fromarray(pixels.astype(np.uint8)).save(root / "train" / f"{patient}_{eye}.png")
            rows.append((f"{patient}_{eye}", patient % 5))
    write_labels(root / "trainLabels.csv", ("image", "level"), rows)
    return root


def patients_of(dataset):
    table = open_dataset(dataset).table
    return {image_id: path.split("_")[0] for image_id, path in zip(table["image_id"], table["path"], strict=True)}


def test_a_flat_folder_with_labels_is_imported_by_the_command(command, tmp_path):
    folder = write_eyes(tmp_path / "eyes")
    (folder / "0_left.png").rename(folder / "stray.png")
    imported = command("datasets", "import", folder, "--json")
    assert imported.status == 0
    assert "Labels from trainLabels.csv" in imported.err
    facts = json.loads(imported.out.splitlines()[-1])
    assert (facts["num_images"], facts["class_names"]) == (29, ["0", "1"])
    assert {row["path"]: row["reason"].split(" of ")[0] for row in facts["left_out"]} == {
        "0_left": "row 2",
        "stray.png": "no row in trainLabels.csv",
    }
    other = tmp_path / "other.csv"
    write_labels(
        other,
        ("file", "size", "kind"),
        [(f"{n}_{eye}.png", n, n % 3) for n in range(1, 15) for eye in ("left", "right")],
    )
    answer = command(
        "datasets", "import", folder, "--labels", other, "--class-column", "kind", "--image-column", "file", "--json"
    )
    assert json.loads(answer.out.splitlines()[-1])["class_names"] == ["0", "1", "2"]


BAD_LABELS = {
    "no row has a file": (("image", "level"), [("x", 0), ("y", 1)], "None of the 1 images"),
    "grade 7": (("image", "level"), [(f"{n}", n % 5 if n != 6 else 7) for n in range(10)], "Row 8 of"),
    "NaN": (("image", "level"), [(f"{n}", n % 5 if n != 6 else "NaN") for n in range(10)], "Row 8 of"),
    "no label": (("image", "level"), [(f"{n}", n % 5 if n != 6 else "") for n in range(10)], "it is empty"),
    "no usable column": (("image", "a", "b"), [(str(n), n, n % 2) for n in range(10)], "columns are: image, a, b. Cho"),
    "no such names": (("a", "b"), [(f"no {n}", n % 2) for n in range(10)], "No column of"),
    "contradiction": (("image", "level"), [("1", 0), ("1", 1)], "Rows 2 and 3"),
    "two places": (("image", "level"), [("twice", 0), ("1", 1)], "lies in two places: a/twice.png and b/twice.png"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_LABELS)
def test_bad_labels_end_with_one_line_and_import_nothing(command, tmp_path, case):
    header, rows, expected = BAD_LABELS[case]
    folder = tmp_path / "set"
    names = [f"{n}.png" for n in range(10)] + (["a/twice.png", "b/twice.png"] if case == "two places" else [])
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"never decoded")
    write_labels(folder / "labels.csv", header, rows)
    options = ("--labels", folder / "labels.csv") if case == "two places" else ()
    answer = command("datasets", "import", folder, *options)
    assert answer.status == 2
    assert expected in answer.err
    assert answer.err.count("\n") == 1
    assert list_datasets() == []


@pytest.mark.slow
def test_labels_pairs_folds_and_evaluate_keep_patients_apart(command, tmp_path):
    folder = write_eyes(tmp_path / "eyes")
    summary = json.loads(
        command(
            *TRAIN, "--strategy", "nearest_neighbors", "--folds", 3, "--dataset", folder, "--json"
        ).out.splitlines()[-1]
    )
    assert summary["split_caveat"] == ""
    patients = patients_of("eyes")
    table = tracking.predictions(summary["run_id"])
    folds = table[table["split"] == "test"].groupby(table["image_id"].map(patients))["fold"]
    assert len(folds) == 15
    assert (folds.nunique() == 1).all()
    evaluated = json.loads(command("evaluate", "--run", "latest", "--dataset", folder, "--json").out)
    assert evaluated["images"] == "out_of_fold"
    assert evaluated["accuracy"] == pytest.approx(summary["test_accuracy"])

    once = json.loads(
        command(*TRAIN, "--strategy", "nearest_neighbors", "--dataset", folder, "--json").out.splitlines()[-1]
    )
    split = dict(zip(open_dataset("eyes").table["image_id"], open_dataset("eyes").split(0), strict=True))
    parts = {
        part: {patients[image_id] for image_id in split if split[image_id] == part} for part in ("train", "val", "test")
    }
    assert sum(map(len, parts.values())) == 15
    assert (
        json.loads(command("evaluate", "--run", once["run_id"], "--dataset", folder, "--json").out)["num"]
        == once["num_test"]
    )


@pytest.mark.slow
def test_declined_pairs_are_said_with_every_score(command, tmp_path):
    folder = write_eyes(tmp_path / "eyes")
    caveat = "15 patients have several, which may lie in training and test"
    assert caveat in command("datasets", "import", folder, "--no-pairs").out
    assert caveat in command(*TRAIN, "--strategy", "nearest_neighbors", "--dataset", folder).out
    assert caveat in command(*TRAIN, "--strategy", "nearest_neighbors", "--seed", 1, "--dataset", "eyes").out
    runs = [run.run_id for run in tracking.list_runs()]
    assert caveat in command("evaluate", "--run", runs[0], "--dataset", "eyes").out
    assert caveat in json.loads(command("evaluate", "--run", runs[0], "--dataset", "eyes", "--json").out)["note"]
    assert caveat in command("compare", *runs).out
    assert caveat in command("runs", "show", runs[0]).out
    report = tmp_path / "report.html"
    command("grade", folder / "1_left.png", "--run", runs[0], "--out", report)
    assert caveat in report.read_text()
    # Imported with pairs, the set has nothing to say; the runs of before still do.
    assert caveat not in command("datasets", "import", folder).out
    assert caveat not in json.loads(command("evaluate", "--run", runs[0], "--dataset", "eyes", "--json").out)["note"]
    assert caveat in command("compare", *runs).out


@pytest.mark.slow
def test_grades_of_a_label_file_are_suggested_and_judged_as_grades(command, tmp_path):
    root = write_graded_eyes(tmp_path / "eyes")
    answer = command("datasets", "import", root, "--suggested", "--no-pseudonyms", "--json")
    facts = json.loads(answer.out.splitlines()[-1])
    assert (facts["is_ordinal"], facts["is_medical"], facts["crop_policy"]) == (True, True, "retina_box")
    assert (facts["class_names"], facts["class_sources"]) == (list(GRADE_NAMES), ["0", "1", "2", "3", "4"])
    assert "40 patients have several images, which stay together in one part" in answer.err
    targets = open_dataset("eyes").table.set_index("path")["target"]
    assert (targets["train/3_left.png"], targets["train/9_right.png"]) == (3, 4)
    summary = json.loads(command(*TRAIN, "--dataset", root, "--json").out.splitlines()[-1])
    table = tracking.predictions(summary["run_id"])
    table = table[table["split"] == "test"]
    predicted = table[[f"probability_{k}" for k in range(5)]].to_numpy().argmax(1)
    expected = cohen_kappa_score(table["target"], predicted, weights="quadratic")
    assert summary["test_quadratic_weighted_kappa"] == pytest.approx(expected, abs=1e-12)
    assert expected > 0.3
