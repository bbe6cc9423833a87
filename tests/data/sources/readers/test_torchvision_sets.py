import io
import sys
import types
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision import datasets

from lib.data.sources.catalogue import SOURCES
from lib.data.sources.readers import torchvision_sets
from lib.data.sources.table import SourceRequest
from lib.errors import UserError
from lib.settings import downloads_dir
from tests.data.sources import published


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A folder that is served, its address, and what was asked of the server."""
    monkeypatch.setattr("lib.data.sources.remote_files.require_room", lambda *given, **more: None)
    folder = tmp_path / "served"
    folder.mkdir()
    with published.serving(folder) as (url, asked):
        yield folder, url, asked


def read(name: str, tmp_path: Path, **values):
    spec = SOURCES.get(name)
    defaults = {option.name: option.default for option in spec.options}
    return spec.read(SourceRequest(values={**defaults, **values}, folder=tmp_path / "own"))


def counts(found) -> dict[tuple[str, str], int]:
    return dict(Counter((entry.class_name, entry.split) for entry in found.scan.entries))


@pytest.fixture
def food(server, monkeypatch):
    folder, url, asked = server
    name, md5 = published.food(folder)
    monkeypatch.setattr(datasets.Food101, "_URL", f"{url}/{name}")
    monkeypatch.setattr(datasets.Food101, "_MD5", md5)
    return asked


def test_food_has_its_classes_and_parts(food, tmp_path):
    found = read("food101", tmp_path)
    assert found.scan.class_names == published.FOODS
    assert counts(found) == {(name, part): 3 for name in published.FOODS for part in ("train", "test")}
    assert found.scan.folder == downloads_dir() / "food101"
    assert all(entry.path == found.scan.folder / entry.key and entry.path.is_file() for entry in found.scan.entries)
    assert found.spec_changes["licence"].startswith("for research")
    assert not found.spec_changes["is_medical"]
    assert not (found.scan.folder / "food-101.tar.gz").exists()  # fetched, so deleted once it was unpacked


def test_food_again_or_with_fewer_classes_asks_nobody(food, tmp_path):
    first = read("food101", tmp_path)
    again = read("food101", tmp_path)
    assert (again.scan.entries, len(food)) == (first.scan.entries, 1)
    assert read("food101", tmp_path, classes="2").scan.class_names == published.FOODS[:2]
    some = read("food101", tmp_path, classes="Baklava, apple pie")
    assert some.scan.class_names == ("apple_pie", "baklava")
    assert {entry.class_name for entry in some.scan.entries} == {"apple_pie", "baklava"}
    assert len(food) == 1


def test_impossible_classes_are_refused(food, tmp_path):
    with pytest.raises(UserError, match="Food-101 has 101 classes; a number from 2 to 101 was expected"):
        read("food101", tmp_path, classes="102")
    assert food == []  # before anything was fetched
    with pytest.raises(UserError, match=r"There is no class 'pizzza'; choose among: apple_pie, baby_back_ribs"):
        read("food101", tmp_path, classes="pizzza, baklava")
    with pytest.raises(UserError, match="Two classes at least"):
        read("food101", tmp_path, classes="baklava")


def test_pets_by_breed_and_by_species(server, monkeypatch, tmp_path):
    folder, url, _ = server
    monkeypatch.setattr(datasets.OxfordIIITPet, "_RESOURCES", published.pets(folder, url))
    found = read("oxford_pets", tmp_path)
    breeds = ("Abyssinian", "American Bulldog", "Egyptian Mau")
    assert found.scan.class_names == breeds
    assert counts(found) == {(name, part): 4 for name in breeds for part in ("train", "test")}
    species = read("oxford_pets", tmp_path, cats_and_dogs=True)
    assert species.scan.class_names == ("Cat", "Dog")
    assert counts(species) == {("Cat", "train"): 8, ("Cat", "test"): 8, ("Dog", "train"): 4, ("Dog", "test"): 4}
    assert {entry.key.rsplit("/")[-1][0].isupper() for entry in species.scan.entries if entry.class_name == "Cat"} == {
        True
    }  # files of cats begin with a capital, as the makers say


def test_flowers_are_called_by_name(server, monkeypatch, tmp_path):
    folder, url, _ = server
    monkeypatch.setattr(datasets.Flowers102, "_file_dict", published.flowers(folder))
    monkeypatch.setattr(datasets.Flowers102, "_download_url_prefix", f"{url}/")
    found = read("flowers102", tmp_path)
    assert len(found.scan.class_names) == len(set(found.scan.class_names)) == 102
    by_name = {entry.path.name: (entry.class_name, entry.split) for entry in found.scan.entries}
    assert len(by_name) == 9
    assert by_name["image_00004.jpg"] == ("pink primrose", "train")
    assert by_name["image_00002.jpg"] == ("passion flower", "val")
    assert by_name["image_00009.jpg"] == ("blackberry lily", "test")


def test_eurosat_has_no_published_parts(server, monkeypatch, tmp_path):
    folder, url, _ = server
    name, md5 = published.eurosat(folder)
    monkeypatch.setattr(torchvision_sets, "EUROSAT_URL", f"{url}/{name}")
    monkeypatch.setattr(torchvision_sets, "EUROSAT_MD5", md5)
    found = read("eurosat", tmp_path)
    assert counts(found) == {("AnnualCrop", ""): 5, ("Forest", ""): 5}
    assert found.scan.class_names == ("AnnualCrop", "Forest")
    assert found.spec_changes["domain"] == "satellite images"


def test_textures_come_in_ten_partitions(server, monkeypatch, tmp_path):
    folder, url, _ = server
    name, md5 = published.textures(folder)
    monkeypatch.setattr(datasets.DTD, "_URL", f"{url}/{name}")
    monkeypatch.setattr(datasets.DTD, "_MD5", md5)
    parts = [
        {entry.path.name: entry.split for entry in read("dtd", tmp_path, partition=partition).scan.entries}
        for partition in (1, 2)
    ]
    assert [part["banded_0001.jpg"] for part in parts] == ["val", "train"]
    assert len(parts[0]) == len(parts[1]) == 6


class FileOfArrays:
    """What h5py's `File` does, over an .npz file: the tests need no HDF5 library."""

    def __init__(self, path, mode="r"):
        self._arrays = np.load(io.BytesIO(Path(path).read_bytes()))

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def __getitem__(self, name):
        return self._arrays[name]


@pytest.fixture
def pcam(server, monkeypatch):
    """PatchCamelyon's six files; gives the pixels of each part."""
    folder, url, _ = server
    files, pixels = {}, {}
    for part, labels in {"train": [0, 1, 1], "val": [1, 0], "test": [0, 1]}.items():
        pixels[part] = np.random.default_rng(len(part)).integers(0, 255, (len(labels), 96, 96, 3), dtype=np.uint8)
        targets = np.array(labels, np.uint8).reshape(-1, 1, 1, 1)
        files[part] = {}
        for what, arrays in {"images": {"x": pixels[part]}, "targets": {"y": targets}}.items():
            saved, name = io.BytesIO(), datasets.PCAM._FILES[part][what][0]
            np.savez(saved, **arrays)
            files[part][what] = (name, "no drive", published.gz(folder, f"{name}.gz", saved.getvalue()))
    monkeypatch.setattr(datasets.PCAM, "_FILES", files)
    monkeypatch.setattr(torchvision_sets, "PCAM_URL", url)
    return pixels


def test_pcam_is_written_as_pictures(pcam, monkeypatch, tmp_path):
    library = types.ModuleType("h5py", "a stand-in")
    library.File = FileOfArrays
    library.__spec__ = types.SimpleNamespace(name="h5py")
    monkeypatch.setitem(sys.modules, "h5py", library)
    found = read("pcam", tmp_path)
    assert found.scan.class_names == ("no tumour", "tumour")
    assert [(entry.key, entry.split) for entry in found.scan.entries if entry.class_name == "tumour"] == [
        ("pcam/test/000001.png", "test"), ("pcam/train/000001.png", "train"), ("pcam/train/000002.png", "train"),
        ("pcam/val/000000.png", "val"),
    ]  # fmt: skip
    found.write(found.scan.entries, lambda *told: None)
    for entry in found.scan.entries:
        with Image.open(entry.path) as image:
            assert np.array_equal(np.asarray(image), pcam[entry.split][int(entry.path.stem)])
    for part in ("train", "val", "test"):  # torchvision's own class reads the same from the files
        theirs = datasets.PCAM(found.scan.folder, split=part)
        assert [np.array_equal(np.asarray(theirs[n][0]), pcam[part][n]) for n in range(len(theirs))] == (
            [True] * len(pcam[part])
        )
        mine = {int(e.path.stem): e.class_name == "tumour" for e in found.scan.entries if e.split == part}
        assert [theirs[n][1] for n in range(len(theirs))] == [mine[n] for n in sorted(mine)]


def test_pcam_without_its_package_is_one_sentence(server, monkeypatch, tmp_path):
    monkeypatch.setattr("lib.data.sources.public.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"PatchCamelyon cannot be read without the package h5py; install it"):
        read("pcam", tmp_path)
    assert server[2] == []


def test_every_set_says_what_it_is():
    for public in torchvision_sets.SETS:
        entry = SOURCES.get(public.name)
        assert entry.needs_network
        for words in (public.licence, public.size, f"{public.num_images:,} images"):
            assert words in entry.summary
        assert public.source_url.startswith("https://")
