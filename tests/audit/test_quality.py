"""Fundus photographs are judged by the gate; photographs by measures, without frames."""

import numpy as np
import pytest
from PIL import Image, ImageOps

from lib.audit.audited import AuditedImages
from lib.audit.quality import has_gate, odd_shapes, spoiled_images
from lib.data.importing import import_folder
from lib.data.label_schema import SchemaChange
from tests.audit.planted import picture, save


def eye(seed, side=224):
    """A reddish disc with vessels on black."""
    y, x = (np.mgrid[:side, :side] + 0.5) / side * 2 - 1
    random = np.random.default_rng(seed)
    disc = np.hypot(x, y) < 0.92
    light = np.array([190.0, 100.0, 55.0]) * (1 - 0.2 * np.hypot(x, y)[..., None])
    for _ in range(14):
        angle, offset = random.uniform(0, np.pi), random.uniform(-0.7, 0.7)
        distance = np.abs(x * np.cos(angle) + y * np.sin(angle) + 0.15 * np.sin(3 * y) - offset)
        light *= 1 - 0.4 * np.exp(-((distance / 0.012) ** 2))[..., None]
    light = (light + random.normal(0, 1.5, light.shape)) * disc[..., None]
    return Image.fromarray(light.clip(0, 255).astype(np.uint8))


@pytest.fixture
def eyes(tmp_path):
    for kind in ("a", "b"):
        for number in range(3):
            save(eye(10 * ord(kind) + number), tmp_path / "eyes" / kind / f"{number}.jpg")
    save(eye(5).point(lambda value: value * 0.12), tmp_path / "eyes" / "a" / "underexposed.jpg")
    return import_folder(
        tmp_path / "eyes", crop_policy="retina_box", kind=SchemaChange(is_medical=True), check_splits=False,
        spec_changes={"domain": "fundus"},
    )  # fmt: skip


def test_an_eye_that_cannot_be_graded_is_told_by_the_gate_and_kept(eyes, monkeypatch):
    audited = AuditedImages(eyes)
    assert has_gate(audited)
    found, num_images, said = spoiled_images(audited)
    assert num_images == 7
    assert "of 100 good photographs" in said
    (dark,) = [one for one in found if "underexposed.jpg" in one.sentence]
    assert (dark.kind, dark.exclude) == ("ungradable", dark.image_ids)
    assert "Too dark" in dark.sentence
    assert odd_shapes(audited)[0] == []
    monkeypatch.setattr("lib.grading.quality.read_quality", None)  # kept on disk for these pixels
    assert spoiled_images(AuditedImages(eyes))[0] == found


def test_a_dark_picture_in_a_white_frame_is_dark(tmp_path):
    for kind in ("rings", "stripes"):
        save(picture(kind, 1), tmp_path / "kinds" / kind / "plain.jpg")
    dark = picture("rings", 2).point(lambda value: value * 0.08)
    save(ImageOps.expand(dark.crop((0, 0, 120, 120)), 20, "white"), tmp_path / "kinds" / "rings" / "framed.jpg")
    audited = AuditedImages(import_folder(tmp_path / "kinds", check_splits=False))
    (found,) = spoiled_images(audited)[0]
    assert (found.kind, "framed.jpg (rings) is dark" in found.sentence) == ("dark", True)
