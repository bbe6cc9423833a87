import json
import shutil

import medmnist
import numpy as np
import pytest
from torchvision import datasets

from lib import cli
from lib.data.dataset_changes import rebuild_dataset
from lib.data.drawing import Draw
from lib.data.importing import import_from
from lib.data.library import list_datasets
from lib.data.sources.public import CLASSES, chosen_classes
from lib.data.sources.readers import medmnist_sets, torchvision_sets
from lib.errors import Stopped, UserError
from lib.settings import PROJECT_ROOT, datasets_dir, downloads_dir
from tests.data.sources import published

GRADES = {"train": [0, 1, 2, 3, 4] * 4, "val": [0, 1, 2, 3, 4], "test": [0, 1, 2, 3, 4] * 2}


@pytest.fixture(autouse=True)
def _large_disk(monkeypatch):
    monkeypatch.setattr("lib.data.sources.remote_files.require_room", lambda *given, **more: None)


@pytest.fixture
def server(tmp_path):
    folder = tmp_path / "served"
    folder.mkdir()
    with published.serving(folder) as (url, asked):
        yield folder, url, asked


@pytest.fixture
def food(server, monkeypatch):
    """Food-101 in four classes; what was asked of its server."""
    name, md5 = published.food(server[0])
    monkeypatch.setattr(datasets.Food101, "_URL", f"{server[1]}/{name}")
    monkeypatch.setattr(datasets.Food101, "_MD5", md5)
    return server[2]


@pytest.fixture
def retina(server, monkeypatch):
    """RetinaMNIST at 28 px; its arrays."""
    arrays = published.medmnist_arrays(GRADES, 28)
    name, md5 = published.medmnist(server[0], "retinamnist.npz", arrays)
    facts = {"url": f"{server[1]}/{name}", "MD5": md5}
    monkeypatch.setitem(medmnist.INFO, "retinamnist", {**medmnist.INFO["retinamnist"], **facts})
    return arrays


def test_arrays_become_a_data_set_with_originals(retina, server):
    dataset = import_from("retinamnist", {"side_px": 28}, store_side_px=64)
    assert (dataset.name, dataset.num_images) == ("retinamnist", 35)
    assert dataset.class_names == ("No DR", "Mild", "Moderate", "Severe", "Proliferative")
    assert dataset.spec.is_ordinal
    assert dataset.spec.is_medical
    assert dataset.spec.is_fundus
    assert dataset.spec.licence == "CC BY 4.0"
    assert dataset.table["split"].value_counts().to_dict() == {"train": 20, "test": 10, "val": 5}
    assert dataset.source_path(0).is_relative_to(downloads_dir() / "retinamnist")

    again = import_from("retinamnist", {"side_px": 28}, store_side_px=64)
    assert again.version == dataset.version
    other = import_from("retinamnist", {"side_px": 28}, name="other", store_side_px=64)
    assert other.content_version == dataset.content_version
    assert len(server[2]) == 1

    cut = rebuild_dataset("retinamnist", "retina_box")  # from the originals
    assert cut.spec.crop_policy == "retina_box"

    shutil.rmtree(downloads_dir())  # fetched and written anew it is the same set
    anew = import_from("retinamnist", {"side_px": 28}, name="anew", store_side_px=64)
    assert (anew.content_version, len(server[2])) == (dataset.content_version, 2)


def test_pseudonyms_leave_the_pictures_where_they_are(retina):
    dataset = import_from("retinamnist", {"side_px": 28}, draw=Draw(per_class=4), store_side_px=64, pseudonyms=True)
    assert dataset.num_images == 20
    assert dataset.source_path(0).is_file()
    assert not any("000003" in path for path in dataset.table["path"])


def test_draw_is_made_before_pictures_are_written(retina):
    draw = Draw(train_per_class=2, test_per_class=1)
    dataset = import_from("retinamnist", {"side_px": 28}, draw=draw, store_side_px=64)
    assert dataset.table["split"].value_counts().to_dict() == {"train": 10, "test": 5}
    assert len(list(downloads_dir().rglob("*.png"))) == 15
    assert dataset.notices[0] == ("Drawn: 15 of 35 images (2 a class to train, 1 a class to test, seed 0).")
    assert dataset.left_out["reason"].str.startswith("not drawn").sum() == 20
    same = import_from("retinamnist", {"side_px": 28}, draw=draw, store_side_px=64)
    assert same.version == dataset.version
    more = import_from("retinamnist", {"side_px": 28}, draw=Draw(per_class=4), store_side_px=64)
    assert (more.name, more.num_images) == ("retinamnist", 20)
    assert dataset.version in more.description["history"][0].values()


def test_imports_of_one_download_have_names_of_their_own(food):
    names = {
        import_from("food101", {"classes": classes}, store_side_px=64).name
        for classes in (None, "2", "baklava,apple_pie")
    }
    assert len(names) == 3
    assert "food101" in names
    assert len(food) == 1


@pytest.mark.parametrize("word", ["Downloading", "Unpacking", "reading headers", "decoding"])
def test_cancelled_import_leaves_no_data_set(food, word):
    def stop(done, total, what):
        if what.startswith(word):
            raise Stopped

    with pytest.raises(Stopped):
        import_from("food101", {}, progress=stop)
    assert list_datasets() == []
    assert import_from("food101", {}, store_side_px=64).num_images == 24


def run(*arguments, capsys):
    status = cli.run(["datasets", "import", *arguments])
    return status, *capsys.readouterr()


def test_command_line_imports_classes_and_draws(food, capsys):
    status, out, _ = run("--source", "food101", "--set", "classes=2", "--train-per-class", "2", "--test-per-class", "1",
                         "--side", "64", "--json", capsys=capsys)  # fmt: skip
    assert status == 0
    facts = json.loads(out.splitlines()[-1])
    assert facts["class_names"] == ["apple_pie", "baby_back_ribs"]
    assert facts["num_images"] == 6
    assert "Drawn: 6 of 12 images (2 a class to train, 1 a class to test, seed 0)." in facts["notices"]


def test_no_network_is_one_line_and_nothing_is_imported(capsys):
    status, out, err = run("--source", "food101", "--set", "classes=10", capsys=capsys)
    assert (status, out) == (2, "")
    lines = err.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("Error: Food-101 (food-101.tar.gz) could not be fetched from data.vision.ee.ethz.ch (")
    assert lines[0].endswith(f"and copy the file to {downloads_dir() / 'food101'}.")
    assert list_datasets() == []
    assert [path for path in datasets_dir().iterdir() if not path.name.startswith(".")] == []
    assert [path for path in downloads_dir().rglob("*") if path.is_file()] == []


def test_file_that_went_missing_is_one_sentence(food):
    import_from("food101", {}, store_side_px=64)
    (downloads_dir() / "food101" / "food-101" / "images" / "baklava" / "3.jpg").unlink()
    with pytest.raises(UserError, match=r"3\.jpg is missing; delete the folder .*food101 and import Food-101 again"):
        import_from("food101", {"classes": "3"}, store_side_px=64)


NAMES = ("apple_pie", "Hard-leaved Orchid", "beef")


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("", NAMES),
        ("2", NAMES[:2]),
        ("beef, Apple Pie", ("apple_pie", "beef")),
        ("hard leaved orchid,beef,", ("Hard-leaved Orchid", "beef")),
    ],
)
def test_classes_by_number_and_by_name(asked, expected):
    assert chosen_classes(NAMES, asked) == expected


def test_one_class_will_do_to_evaluate_on():
    assert chosen_classes(NAMES, "beef", min_classes=1) == ("beef",)
    assert CLASSES.read("10") == "10"


def test_pixels_of_the_store_are_those_of_the_arrays(retina):
    dataset = import_from("retinamnist", {"side_px": 28}, store_side_px=64)
    assert dataset.spec.store_side_px == 64  # the least side of a store, so that these are enlarged
    row = int(np.flatnonzero(dataset.table["path"] == "retinamnist/test/000003.png")[0])
    assert dataset.table["target"].iloc[row] == GRADES["test"][3]
    small = dataset.pixels[row].reshape(64, 64, 3).mean((0, 1))
    assert np.abs(small - retina["test_images"][3].mean((0, 1))).max() < 3


def test_documentation_has_a_line_for_every_set():
    text = (PROJECT_ROOT / "docs" / "bring_your_data.md").read_text()
    for one in (*torchvision_sets.SETS, *medmnist_sets.SETS):
        assert (
            f"| `{one.name}` | [{one.title}]({one.source_url}) | {one.num_images:,} | {one.num_classes} | {one.size} | "
            f"{one.licence} |\n"
        ) in text
