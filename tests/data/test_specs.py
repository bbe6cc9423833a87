import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lib.data.decoder_pool import DecoderPool
from lib.data.images import decode_bytes, read_header
from lib.data.importing import import_folder
from lib.data.input_transform import InputTransform
from lib.data.library import open_dataset
from lib.data.specs import BY_FILE, FULL_RANGE, DatasetSpec, ValueRange, ValueScale, common_scale, measure_range
from lib.errors import BadImage, UserError
from tests.data.folders import encoded


def test_spec_survives_json():
    spec = DatasetSpec(name="eyes", title="Eyes", class_names=("no", "mild"), is_ordinal=True, crop_policy="retina_box")
    assert DatasetSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec
    assert spec.num_classes == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format_version": 9}, "newer than 1"),
        ({"colour": "red"}, "colour"),
        ({"class_names": None}, "cannot be read"),
        ({"crop_policy": "round"}, "Unknown crop policy 'round'"),
    ],
)
def test_from_dict_refuses_what_it_does_not_know(changes: dict, message: str):
    content = DatasetSpec(name="a", title="A", class_names=("x", "y")).to_dict() | changes
    with pytest.raises(UserError, match=message):
        DatasetSpec.from_dict(content)


FORMAT = {"input_size_px": 32, "mean": [0.5] * 3, "std": [0.25] * 3, "store_side_px": 64}


def deep(level: int, *, hot: int | None = None, seed: int = 0) -> Image.Image:
    """A 16-bit picture of about one level, with one hot pixel if asked."""
    values = np.random.default_rng(seed).integers(level - 20, level + 21, (64, 64)).astype(np.uint16)
    if hot is not None:
        values[5, 7] = hot
    return Image.fromarray(values)


def test_one_hot_pixel_moves_nothing():
    clean, hot = np.full((64, 64), 600, np.uint16), np.full((64, 64), 600, np.uint16)
    hot[3, 3] = 65535
    assert measure_range(clean, "integer") == measure_range(hot, "integer") == ValueRange("integer", 600, 600)
    # 4 of 4,096 values are a thousandth; the fifth counts.
    hot[0, :4] = 65535
    assert measure_range(hot, "integer").high == 65535


@pytest.mark.parametrize(
    ("highest", "top"),
    [(200, 255), (256, 1023), (1023, 1023), (3000, 4095), (9000, 16383), (16384, 65535), (70000, 131071)],
)
def test_the_scale_is_the_sets_bit_depth_rounded_up(highest: int, top: int):
    ranges = [ValueRange("integer", 3, 40), ValueRange("integer", 0, highest)]
    assert common_scale(ranges) == ValueScale((0, top), (0, 1), 2)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0.1, 0.3, (0, 1)), (0, 1.2, (0, 2)), (0, 200, (0, 255)), (-0.5, 0.9, (-0.5, 1)), (-900.0, 1800.0, (-1024, 4095))],
)
def test_floats_have_a_scale_of_their_own(low: float, high: float, expected: tuple[float, float]):
    scale = common_scale([ValueRange("float", low, high)])
    assert (scale.floating, scale.integer, scale.num_images) == (expected, (0, 65535), 1)


def test_a_fixed_rule_reads_deep_files_where_none_was_trained_on():
    for content in (encoded(deep(1000)), encoded(deep(1000, hot=65535))):
        decoded = decode_bytes(content, side_px=64, crop_policy="center_square")
        assert decoded.pixels.mean() == pytest.approx(1000 / 65535 * 255, abs=0.6)
        assert "values 0 to 65535" in decoded.notices[0]
    float_file = encoded(Image.fromarray(np.full((32, 32), 0.25, np.float32)), "TIFF")
    assert decode_bytes(float_file, side_px=8, crop_policy="center_square").pixels.mean() == 64


def test_what_lies_beyond_the_scale_is_black_or_white():
    scale = ValueScale((100, 1100), (0, 1), 1)
    values = np.repeat(np.array([[50, 600], [600, 40000]], np.uint16), 16, 0).repeat(16, 1)
    pixels = decode_bytes(
        encoded(Image.fromarray(values)), side_px=32, crop_policy="center_square", value_scale=scale
    ).pixels
    assert [int(pixels[row, column, 0]) for row, column in ((4, 4), (4, 28), (28, 28))] == [0, 128, 255]


def test_only_deep_images_are_measured():
    assert read_header(encoded(Image.new("RGB", (32, 32)))).values is None
    assert read_header(encoded(Image.new("L", (32, 32)))).values is None
    assert read_header(encoded(deep(600))).values.kind == "integer"
    not_finite = encoded(Image.fromarray(np.full((32, 32), np.nan, np.float32)), "TIFF")
    with pytest.raises(BadImage, match="no finite value"):
        read_header(not_finite)
    with DecoderPool(1) as pool:
        assert pool.probe(encoded(deep(600))).values.low == pytest.approx(580, abs=3)
        assert pool.probe(encoded(Image.new("RGB", (32, 32)))).values is None


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Dim and bright 12-bit pictures in one class, a dim one with a hot pixel, and 8-bit ones in the other."""
    random = np.random.default_rng(0)
    for name in ("deep", "plain"):
        (tmp_path / "scans" / name).mkdir(parents=True)
    for number in range(6):
        dim = deep(200, hot=65535 if number == 0 else None, seed=number)
        dim.save(tmp_path / "scans" / "deep" / f"dim_{number}.png")
        deep(3200, seed=10 + number).save(tmp_path / "scans" / "deep" / f"bright_{number}.tif")
        plain = random.integers(0, 255, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(plain).save(tmp_path / "scans" / "plain" / f"{number}.png")
    return tmp_path / "scans"


def test_dim_and_bright_files_of_a_set_keep_their_ratio(folder: Path):
    dataset = import_folder(folder, store_side_px=64)
    scale = dataset.spec.value_scale
    assert (scale.integer, scale.num_images) == ((0, 4095), 12)
    means = {path: float(dataset.pixels[row].mean()) for row, path in enumerate(dataset.table["path"])}
    # 200 / 4095 * 255 = 12.5 and 3200 / 4095 * 255 = 199.3: the ratio 16 of the files, within a rounded level.
    for number in range(6):
        assert means[f"deep/dim_{number}.png"] == pytest.approx(12.5, abs=0.6)
        assert means[f"deep/bright_{number}.tif"] == pytest.approx(199.3, abs=0.6)
    assert "One scale for the 12 images of more than 8 bits: whole numbers 0 to 4095" in scale.sentence


def test_grading_reads_a_file_as_training_did(folder: Path):
    dataset = import_folder(folder, store_side_px=64)
    inputs = InputTransform.of({**FORMAT, "value_scale": dataset.spec.value_scale.to_dict()})
    for row, path in enumerate(dataset.table["path"]):
        assert np.array_equal(inputs.decode(folder / path).pixels, dataset.pixels[row])
    # One file alone, whatever it holds, is read by the set's scale.
    dim = inputs.decode(encoded(deep(100)))
    assert dim.pixels.mean() == pytest.approx(100 / 4095 * 255, abs=0.6)
    assert dim.notices == ("values 0 to 4095 scaled to 8 bits",)


def test_old_data_sets_and_classifiers_keep_their_rule(folder: Path):
    old = InputTransform.of(FORMAT)
    assert old.value_scale == BY_FILE
    assert "file by file" in old.value_scale.sentence
    bright = old.decode(encoded(deep(600)))
    assert bright.pixels.mean() == pytest.approx(600 / 4095 * 255, abs=0.6)
    assert bright.notices == ("values 0 to 4095 scaled to 8 bits, by this file alone",)
    with_hot_pixel = old.decode(encoded(deep(600, hot=65535)))
    assert with_hot_pixel.pixels.mean() == pytest.approx(600 / 65535 * 255, abs=0.6)
    content = DatasetSpec(name="a", title="a", class_names=("x", "y")).to_dict()
    del content["value_scale"]
    assert DatasetSpec.from_dict(content).value_scale is None


def test_the_scale_survives_a_change_of_names(folder: Path):
    from lib.data.dataset_changes import change_dataset
    from lib.data.label_schema import SchemaChange

    before = import_folder(folder, store_side_px=64).spec.value_scale
    change_dataset("scans", SchemaChange(class_names=("Deep", "Plain")))
    assert open_dataset("scans").spec.value_scale == before
    import_folder(folder, store_side_px=64, kind=SchemaChange(class_names=("D", "P")))
    assert open_dataset("scans").spec.value_scale == before


def test_scales_make_the_round_trip_and_damage_is_a_sentence():
    scale = ValueScale((0, 4095), (-1, 1), 3)
    assert ValueScale.of(scale.to_dict()) == scale
    assert ValueScale.of(None) == BY_FILE
    assert "there are none here" in FULL_RANGE.sentence
    for damaged in ({}, 3, {"integer": [5, 5], "floating": [0, 1], "num_images": 0, "is_by_file": False}):
        with pytest.raises(UserError, match="scale of values"):
            ValueScale.of(damaged)
