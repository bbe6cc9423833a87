from collections import Counter

import medmnist
import numpy as np
import pytest
from PIL import Image

from lib.data.grades import GRADE_NAMES, known_grades
from lib.data.sources.catalogue import SOURCES
from lib.data.sources.readers import medmnist_sets
from lib.data.sources.table import SourceRequest
from lib.settings import downloads_dir
from tests.data.sources import published

LABELS = {"train": [0, 4, 1, 2, 3, 0], "val": [2, 0], "test": [4, 3, 1]}


@pytest.fixture
def served(tmp_path, monkeypatch):
    """Offers a file of MedMNIST in place of the published one; gives its arrays."""
    folder = tmp_path / "served"
    folder.mkdir()
    monkeypatch.setattr("lib.data.sources.remote_files.require_room", lambda *given, **more: None)
    with published.serving(folder) as (url, asked):

        def offer(name, side_px, labels):
            suffix = "" if side_px == 28 else f"_{side_px}"
            arrays = published.medmnist_arrays(labels, side_px)
            file, md5 = published.medmnist(folder, f"{name}{suffix}.npz", arrays)
            facts = {f"url{suffix}": f"{url}/{file}?download=1", f"MD5{suffix}": md5}
            numbers = {part: len(given) for part, given in labels.items()}
            monkeypatch.setitem(medmnist.INFO, name, {**medmnist.INFO[name], **facts, "n_samples": numbers})
            return arrays

        offer.asked = asked
        yield offer


def read(name, tmp_path, **values):
    spec = SOURCES.get(name)
    defaults = {option.name: option.default for option in spec.options}
    return spec.read(SourceRequest(values={**defaults, **values}, folder=tmp_path / "own"))


@pytest.mark.parametrize("side_px", [28, 64])
def test_retina_has_the_names_of_the_grades(served, side_px, tmp_path):
    arrays = served("retinamnist", side_px, LABELS)
    found = read("retinamnist", tmp_path, side_px=side_px)
    assert found.scan.class_names == GRADE_NAMES == ("No DR", "Mild", "Moderate", "Severe", "Proliferative")
    assert known_grades(found.scan.class_names) == (0, 1, 2, 3, 4)
    assert found.spec_changes["is_ordinal"]
    assert found.spec_changes["is_medical"]
    assert found.spec_changes["domain"] == "fundus photographs"
    grades = {(entry.split, int(entry.path.stem)): GRADE_NAMES.index(entry.class_name) for entry in found.scan.entries}
    assert grades == {(part, n): grade for part, given in LABELS.items() for n, grade in enumerate(given)}
    found.write(found.scan.entries, lambda *told: None)
    for entry in found.scan.entries:
        with Image.open(entry.path) as image:
            assert np.array_equal(np.asarray(image), arrays[f"{entry.split}_images"][int(entry.path.stem)])


def test_rows_are_those_that_medmnist_reads(served, tmp_path):
    served("retinamnist", 28, LABELS)
    found = read("retinamnist", tmp_path, side_px=28)
    found.write(found.scan.entries, lambda *told: None)
    for part in medmnist_sets.PARTS:
        theirs = medmnist.RetinaMNIST(part, root=str(found.scan.folder), size=28)
        mine = {int(entry.path.stem): entry for entry in found.scan.entries if entry.split == part}
        assert len(theirs) == len(mine)
        for number, (image, label) in enumerate(theirs):
            with Image.open(mine[number].path) as written:
                assert np.array_equal(np.asarray(written), np.asarray(image))
            assert mine[number].class_name == GRADE_NAMES[int(label[0])]


def test_skin_and_tissue_have_the_published_names_in_their_order(served, tmp_path):
    served("dermamnist", 28, {"train": list(range(7)), "val": [5], "test": [6]})
    skin = read("dermamnist", tmp_path, side_px=28)
    assert skin.scan.class_names == (
        "actinic keratoses and intraepithelial carcinoma", "basal cell carcinoma", "benign keratosis-like lesions",
        "dermatofibroma", "melanoma", "melanocytic nevi", "vascular lesions",
    )  # fmt: skip
    assert Counter(entry.class_name for entry in skin.scan.entries)["vascular lesions"] == 2
    assert skin.spec_changes["licence"] == "CC BY-NC 4.0"
    served("pathmnist", 28, {"train": list(range(9)), "val": [0], "test": [8]})
    tissue = read("pathmnist", tmp_path, side_px=28)
    assert tissue.scan.class_names[0] == "adipose"
    assert tissue.scan.class_names[-1] == "colorectal adenocarcinoma epithelium"
    assert not skin.spec_changes["is_ordinal"]
    assert not tissue.spec_changes["is_ordinal"]


def test_only_what_is_wanted_is_written_and_written_once(served, tmp_path):
    served("retinamnist", 28, LABELS)
    found = read("retinamnist", tmp_path, side_px=28)
    told = []
    wanted = [entry for entry in found.scan.entries if entry.class_name == "Moderate"]
    found.write(wanted, lambda *facts: told.append(facts))
    folder = downloads_dir() / "retinamnist" / "retinamnist"
    assert sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()) == [
        "train/000003.png", "val/000000.png",
    ]  # fmt: skip
    assert told == [(1, 2, "writing images"), (2, 2, "writing images")]
    times = {entry.path: entry.path.stat().st_mtime_ns for entry in wanted}
    found.write(found.scan.entries, lambda *facts: None)
    assert {path: path.stat().st_mtime_ns for path in times} == times
    assert all(entry.path.is_file() for entry in found.scan.entries)
    again = read("retinamnist", tmp_path, side_px=28)
    assert again.scan.entries == found.scan.entries  # which are the same before they are written and after
    assert len(served.asked) == 1


def test_entries_say_what_medmnist_says():
    for public in medmnist_sets.SETS:
        info = medmnist.INFO[public.name]
        assert public.licence == info["license"]
        assert public.num_images == sum(info["n_samples"].values())
        assert public.num_classes == len(info["label"])
        assert public.is_ordinal == (info["task"] == "ordinal-regression")
        assert SOURCES.get(public.name).options[0].choices == (28, 64, 128, 224)
