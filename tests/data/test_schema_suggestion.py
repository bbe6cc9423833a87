from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from lib.data.grades import GRADE_NAMES
from lib.data.schema_suggestion import count_round_fields, is_round_field, spread, suggest_schema
from tests.data.folders import picture

NUMBERS = ("0", "1", "2", "3", "4")
KAGGLE = ("Mild", "Moderate", "No_DR", "Proliferate_DR", "Severe")


def _field(size: tuple[int, int], *, centre: tuple[int, int], radius: int, colour=(180, 90, 40)) -> Image.Image:
    image = Image.new("RGB", size)
    x, y = centre
    ImageDraw.Draw(image).ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
    return image


def test_grades_of_retinopathy_get_the_scales_order_names_and_notice():
    found = suggest_schema(KAGGLE)
    assert (found.is_ordinal, found.is_medical, found.crop) == (True, True, None)
    assert found.order == ("No_DR", "Mild", "Moderate", "Severe", "Proliferate_DR")
    assert found.class_names == GRADE_NAMES
    assert found.reasons["is_medical"] == "the class name 'No_DR' speaks of retinopathy"
    assert found.change.order == found.order


def test_numbers_alone_are_ordered_but_not_medical():
    found = suggest_schema(NUMBERS, name="scans")
    assert (found.is_ordinal, found.is_medical, found.class_names) == (True, False, NUMBERS)
    assert found.reasons == {"is_ordinal": "the classes are the numbers 0 to 4"}
    assert found.change.class_names is None


@pytest.mark.parametrize(("name", "fields"), [("aptos2019", (0, 8)), ("scans", (8, 8))])
def test_the_folders_name_or_its_pictures_tell_what_the_numbers_are(name: str, fields: tuple[int, int]):
    found = suggest_schema(NUMBERS, name=name, round_fields=fields)
    assert (found.is_ordinal, found.is_medical, found.class_names) == (True, True, GRADE_NAMES)
    assert found.order == NUMBERS


@pytest.mark.parametrize(
    ("class_names", "is_ordinal", "is_medical"),
    [
        (("grade_1", "grade_2", "grade_3"), True, False),
        (("KL0", "KL1", "KL2", "KL3"), True, False),
        (("mild", "moderate", "none", "severe"), True, False),
        (("DR", "No_DR"), False, True),  # two classes need no order
        (("daisy", "rose", "tulip"), False, False),
        (("0", "1", "2"), False, False),
        (tuple("0123456789"), False, False),  # digits are no grades
        (("batch 1", "batch 2", "batch 3"), False, False),
        (("1", "2", "4", "5", "6"), False, False),
    ],
)
def test_what_other_names_suggest(class_names, is_ordinal: bool, is_medical: bool):
    found = suggest_schema(class_names)
    assert (found.is_ordinal, found.is_medical) == (is_ordinal, is_medical)


def test_degrees_of_severity_are_put_in_order():
    assert suggest_schema(("mild", "moderate", "none", "severe")).order == ("none", "mild", "moderate", "severe")


def test_round_fields_suggest_their_crop_and_the_notice():
    found = suggest_schema(("a", "b"), round_fields=(7, 8))
    assert (found.crop, found.is_medical, found.is_ordinal) == ("retina_box", True, False)
    assert found.to_dict()["crop_policy"] == {
        "value": "retina_box", "reason": "7 of 8 photographs looked at show a round field on black",
    }  # fmt: skip
    assert suggest_schema(("a", "b"), round_fields=(3, 8)).reasons == {}


def test_only_what_is_not_so_already_is_suggested():
    now = {"is_ordinal": True, "is_medical": False, "crop_policy": "center_square", "order": NUMBERS,
           "class_names": NUMBERS}  # fmt: skip
    assert suggest_schema(NUMBERS).differing(now).reasons == {}
    left = suggest_schema(NUMBERS, name="eyepacs").differing(now)
    assert set(left.reasons) == {"is_medical", "classes"}
    assert left.change.is_ordinal is None


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (_field((300, 300), centre=(150, 150), radius=140), True),
        (_field((400, 300), centre=(200, 150), radius=190), True),  # cut off above and below
        (_field((300, 300), centre=(150, 150), radius=180), True),  # cut off on all sides, its corners left
        (_field((300, 300), centre=(150, 150), radius=140, colour=(40, 12, 8)), True),  # a dark one
        (_field((300, 300), centre=(150, 150), radius=225), False),  # nothing of its edge to see
        (Image.new("RGB", (300, 300), (90, 60, 40)), False),
        (Image.new("RGB", (300, 300)), False),
        (picture(3, width=300, height=300), False),
    ],
)
def test_a_round_field_is_seen_through_the_safe_decoder(tmp_path: Path, image: Image.Image, expected: bool):
    image.save(tmp_path / "one.png")
    assert count_round_fields([tmp_path / "one.png"]) == (int(expected), 1)


def test_a_square_on_black_is_no_round_field():
    square = np.zeros((96, 96, 3), np.uint8)
    square[14:82, 14:82] = 150
    assert not is_round_field(square)


def test_images_are_looked_at_through_the_whole_set_and_bad_ones_do_not_count(tmp_path: Path):
    for number in range(20):
        _field((120, 120), centre=(60, 60), radius=56).save(tmp_path / f"{number:02}.png")
    (tmp_path / "00.png").write_bytes(b"no image")
    paths = sorted(tmp_path.glob("*.png"))
    assert [path.name for path in spread(paths, 3)] == ["00.png", "10.png", "19.png"]
    found = suggest_schema(NUMBERS, round_fields=count_round_fields(paths))
    assert found.reasons["crop_policy"] == "7 of 7 photographs looked at show a round field on black"
    assert suggest_schema(NUMBERS, round_fields=count_round_fields([])).crop is None
