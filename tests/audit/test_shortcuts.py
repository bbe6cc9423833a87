"""Whether the class can be told by what it should not depend on."""

import re

import numpy as np
import pytest
from PIL import Image

from lib.audit.audited import AuditedImages
from lib.audit.shortcuts import shortcuts, told_apart
from lib.data.importing import import_folder
from tests.audit.planted import picture


def write(folder, change, *, per_class=16):
    """Rings and stripes as JPEG files; `change(kind, number, image)` returns the image and the options of saving."""
    for kind in ("rings", "stripes"):
        (folder / kind).mkdir(parents=True)
        for number in range(per_class):
            image, options = change(kind, number, picture(kind, number).resize((80, 64)))
            image.save(folder / kind / f"{number}.jpg", **{"quality": 80} | options)
    return import_folder(folder, store_side_px=64)


def families_of(dataset):
    return {
        finding.sentence.split(" alone")[0].removeprefix("By "): finding
        for finding in shortcuts(AuditedImages(dataset))[0]
    }


def by_camera(kind, number, image):
    exif = Image.Exif()
    exif[0x010F], exif[0x0110] = ("Maker A", "One") if kind == "rings" else ("Maker B", "Two\n")
    return image, {"exif": exif}


def framed(kind, number, image):
    if kind == "rings":
        image.paste((0, 0, 0), (8, 0, 12, 64))
        image.paste((0, 0, 0), (68, 0, 72, 64))
    return image, {}


def by_size(kind, number, image):
    return (image.resize((120, 96)) if kind == "rings" else image), {}


@pytest.mark.parametrize(
    ("change", "family"),
    [(by_camera, "the camera"), (framed, "the border"), (by_size, "the size of the originals")],
    ids=["camera", "border", "size"],
)
def test_a_class_that_something_else_gives_away_is_told(tmp_path, change, family):
    found = families_of(write(tmp_path / "kinds", change))
    finding = found[family]
    assert finding.severity == "serious"
    assert finding.score >= 0.9
    assert re.search(r"balanced accuracy \d.\d\d \(chance 0.\d\d to 0.\d\d\) on 32 images", finding.sentence)
    assert finding.image_ids == ()


def test_where_nothing_gives_it_away_nothing_is_told(tmp_path):
    dataset = write(tmp_path / "kinds", lambda kind, number, image: (image, {}))
    findings, num_images, sentence = shortcuts(AuditedImages(dataset))
    assert findings == []
    assert num_images == 32
    assert "Balanced accuracy of each alone, and where chance lies: the size of the files " in sentence
    assert "the size of the originals (all are alike)" in sentence


def test_one_camera_is_no_shortcut(tmp_path):
    dataset = write(tmp_path / "kinds", lambda kind, number, image: by_camera("rings", number, image))
    assert "the camera (all were taken by Maker A One)" in shortcuts(AuditedImages(dataset))[2]


def test_chance_is_that_of_shuffled_labels_of_whole_patients():
    random = np.random.default_rng(0)
    targets = np.repeat([0, 1], 40)
    noise = random.normal(size=(80, 2))
    told = told_apart(noise, targets, np.arange(80))
    assert told.low <= told.score <= told.high
    assert told.way == 0
    assert told.chance == 0.5
    known = told_apart(noise + 9 * targets[:, None], targets, np.arange(80))
    assert (known.score, known.way) == (1.0, 1.0)
    patients = told_apart(noise + 9 * targets[:, None], targets, np.repeat(np.arange(20), 4))
    assert patients.high - patients.low > 1.5 * (known.high - known.low)  # twice as wide for a quarter as many
    assert told_apart(noise, targets, np.repeat([0, 1], 40)) is None  # one patient a class
