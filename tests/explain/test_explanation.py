from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from lib.data.input_transform import InputTransform
from lib.data.specs import BY_FILE
from lib.errors import UserError
from lib.explain.explanation import describe_probability, explain, explain_image, map_tiles
from tests.explain.tiny import LookupNetwork, TinyNetwork

NAMES = ("No DR", "Mild", "cat", "Katze", "großer Hund")


FORMAT = {"size_px": 32, "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(3).integers(0, 255, (48, 48, 3), dtype=np.uint8)


def test_input_format_reads_specs_and_manifests() -> None:
    expected = InputTransform(32, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    # A manifest of before there was one scale for images of more than 8 bits; a published network has the fixed rule.
    assert InputTransform.of(FORMAT) == replace(expected, value_scale=BY_FILE)
    assert InputTransform.of(SimpleNamespace(input_size_px=32, mean=FORMAT["mean"], std=FORMAT["std"])) == expected
    assert InputTransform.of(expected) is expected
    with pytest.raises(UserError, match="lacks an input size"):
        InputTransform.of({"mean": [0], "std": [1]})


def test_a_cropped_input_shows_what_the_network_sees(pixels: np.ndarray) -> None:
    inputs = InputTransform.of({**FORMAT, "interpolation": "bicubic", "crop_fraction": 0.75})
    assert np.array_equal(inputs.framed(pixels), pixels[6:42, 6:42])
    # 32 px are the middle of 42: the rim of five is dark, the rest white.
    dark_rim = np.full((42, 42, 3), 255, dtype=np.uint8)
    dark_rim[:5] = dark_rim[37:] = dark_rim[:, :5] = dark_rim[:, 37:] = 0
    np.testing.assert_allclose(inputs.batch(dark_rim[None]).numpy(), 2.0, atol=1e-5)
    for wrong in ({"interpolation": "lanczos"}, {"crop_fraction": 0}):
        with pytest.raises(UserError, match=r"interpolation 'lanczos'|not 0\.0"):
            InputTransform.of({**FORMAT, **wrong})


def test_explanation_of_the_prediction(pixels: np.ndarray) -> None:
    explanation = explain(pixels, TinyNetwork(), preprocessing=FORMAT, class_names=NAMES)
    assert explanation.is_predicted
    assert explanation.top_classes(2)[0] == (explanation.target_name, explanation.score)
    assert list(explanation.cams or {}) == list(explanation.activations) == ["stem", "middle", "last"]
    assert explanation.describe_target() == (
        f'Class "{explanation.target_name}" (predicted, probability {explanation.score:.2f})'
    )
    tiles = map_tiles(explanation, is_cam=True)
    assert [tile.title for tile in tiles] == ["Input", "Stem", "Middle", "Last"]
    assert [tile.caption.split(",")[0] for tile in tiles[1:]] == [
        "stem: 16 × 16 cells",
        "middle: 8 × 8 cells",
        "last: 4 × 4 cells",
    ]
    assert all(tile.pixels.shape == (48, 48, 3) for tile in tiles)
    values = explanation.activations["last"]
    (_, activation) = map_tiles(explanation, is_cam=False, stages=["last"])
    assert activation.caption == f"last: 4 × 4 cells, {values.min():.2g} to {values.max():.2g}"


def test_a_chosen_class(pixels: np.ndarray) -> None:
    predicted = explain(pixels, TinyNetwork(), preprocessing=FORMAT, class_names=NAMES)
    other = (predicted.target + 1) % 5
    explanation = explain(pixels, TinyNetwork(), preprocessing=FORMAT, class_names=NAMES, target=NAMES[other])
    assert (explanation.target, explanation.is_predicted) == (other, False)
    assert "chosen" in explanation.describe_target()


def test_probabilities_are_not_rounded_to_certainty() -> None:
    values = (0.0, 0.0003, 0.0051, 0.5, 0.9949, 0.9999, 1.0)
    assert [describe_probability(value) for value in values] == [
        "0.00", "below 0.01", "0.01", "0.50", "0.99", "above 0.99", "1.00",
    ]  # fmt: skip


def test_class_names_must_fit(pixels: np.ndarray) -> None:
    with pytest.raises(UserError, match="5 classes, but 2"):
        explain(pixels, TinyNetwork(), preprocessing=FORMAT, class_names=("a", "b"))


def test_no_gradient_shows_activations_and_says_why(pixels: np.ndarray, tmp_path: Path) -> None:
    report = explain_image(pixels, LookupNetwork(), FORMAT, NAMES, out=tmp_path / "map.png")
    assert report["method"] == "Mean activation"
    assert "no useful gradient" in report["notice"]
    assert (tmp_path / "map.png").is_file()


def test_explain_image_writes_a_picture(pixels: np.ndarray, tmp_path: Path) -> None:
    report = explain_image(
        pixels, TinyNetwork(), FORMAT, NAMES, target="cat", out=tmp_path / "new" / "strip.png", network_title="Tiny"
    )
    assert report["class_name"] == "cat"
    assert report["method"] == "Grad-CAM"
    assert report["stages"][1] == {"stage": "middle", "height": 8, "width": 8}
    assert sum(entry["probability"] for entry in report["top"]) == pytest.approx(1, abs=1e-5)
    with Image.open(report["out"]) as strip:
        assert strip.format == "PNG"
        assert strip.width > 4 * 224
    single = explain_image(pixels, TinyNetwork(), FORMAT, NAMES, stage="last", out=tmp_path / "one.png")
    assert [entry["stage"] for entry in single["stages"]] == ["last"]
    with Image.open(tmp_path / "one.png") as one:
        assert one.width < strip.width


def test_nothing_is_written_on_an_error(pixels: np.ndarray, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not a stage"):
        explain_image(pixels, TinyNetwork(), FORMAT, NAMES, stage="conv9", out=tmp_path / "x.png")
    with pytest.raises(UserError, match="no class 'dog'"):
        explain_image(pixels, TinyNetwork(), FORMAT, NAMES, target="dog", out=tmp_path / "x.png")
    assert not list(tmp_path.glob("*.png"))
