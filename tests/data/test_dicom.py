"""Photographs as DICOM files, made by pydicom itself; nothing that names a patient comes out."""

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    JPEG2000,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    RLELossless,
    generate_uid,
)

from lib.data.decoder_pool import decode_one
from lib.data.images import DecodedImage, decode_bytes, read_header
from lib.errors import BadImage
from tests.data.folders import encoded, picture

NAME, NUMBER = "Doe^Jane", "PATIENT-4711"


def dicom(values: np.ndarray | bytes, *, syntax: str = ExplicitVRLittleEndian, size: int = 32, **tags: Any) -> bytes:
    """A file with a patient's name; `values` uint8 or uint16 ([frames,] h, w[, 3]), or an encoded frame."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.77.1.5.1", generate_uid()
    meta.TransferSyntaxUID = syntax
    content = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    content.SOPClassUID, content.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    content.PatientName, content.PatientID, content.StudyDate = NAME, NUMBER, "20240131"
    is_raw = not isinstance(values, bytes)
    deep = is_raw and values.dtype.itemsize > 1
    colours = 3 if not is_raw or values.shape[-1] == 3 else 1
    content.Rows = content.Columns = size
    content.SamplesPerPixel, content.PlanarConfiguration, content.PixelRepresentation = colours, 0, 0
    content.PhotometricInterpretation = "RGB" if colours == 3 else "MONOCHROME2"
    content.BitsAllocated = 16 if deep else 8
    content.BitsStored, content.HighBit = content.BitsAllocated, content.BitsAllocated - 1
    if is_raw and syntax == ExplicitVRLittleEndian:
        content.PixelData = values.tobytes()
    elif not is_raw:
        content.PixelData = encapsulate([values])
    for name, value in tags.items():
        setattr(content, name, value)
    if syntax == RLELossless:
        content.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        content.PixelData = values.tobytes()
        content.compress(RLELossless, generate_instance_uid=False)
    opened = io.BytesIO()
    content.save_as(opened, enforce_file_format=True)
    return opened.getvalue()


def _decode(data: bytes) -> DecodedImage:
    return decode_bytes(data, side_px=32, crop_policy="center_square")


def _flat(value: int, dtype: Any = np.uint8) -> np.ndarray:
    return np.full((32, 32), value, dtype)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless])
def test_colour_comes_out_as_it_went_in(syntax: str):
    pixels = np.asarray(picture(1))
    found = _decode(dicom(pixels, syntax=syntax))
    assert np.array_equal(found.pixels, pixels)
    assert (found.width, found.notices, found.laterality) == (32, (), "")


@pytest.mark.parametrize(
    ("image_format", "syntax", "kind", "options"),
    [
        ("JPEG", JPEGBaseline8Bit, "YBR_FULL_422", {"quality": 95}),
        ("JPEG2000", JPEG2000Lossless, "RGB", {"irreversible": False, "mct": 0, "no_jp2": True}),
        ("JPEG2000", JPEG2000, "YBR_ICT", {"irreversible": True, "no_jp2": True}),
    ],
)
def test_packed_colour_is_unpacked(image_format: str, syntax: str, kind: str, options: dict[str, Any]):
    image = Image.new("RGB", (32, 32), (200, 90, 40))
    data = dicom(encoded(image, image_format, **options), syntax=syntax, PhotometricInterpretation=kind)
    assert np.abs(_decode(data).pixels.astype(int) - (200, 90, 40)).max() <= 3


def test_plain_ybr_becomes_rgb():
    # Full-range luma and chroma of (200, 90, 40), by ITU-R BT.601: 117.2, 84.4, 187.1.
    pixels = np.broadcast_to(np.array([117, 84, 187], np.uint8), (32, 32, 3)).copy()
    found = _decode(dicom(pixels, PhotometricInterpretation="YBR_FULL"))
    assert np.abs(found.pixels.astype(int) - (200, 90, 40)).max() <= 2


@pytest.mark.parametrize(
    ("values", "tags", "expected"),
    [
        (_flat(100), {}, 100),
        (_flat(100), {"PhotometricInterpretation": "MONOCHROME1"}, 155),
        (_flat(2048, np.uint16), {"BitsStored": 12, "HighBit": 11}, 128),  # 2048 / 4095 x 255 = 127.5
        (_flat(300, np.uint16), {"BitsStored": 12, "HighBit": 11, "WindowCenter": "300.5", "WindowWidth": "201"}, 128),
        (_flat(700, np.uint16), {"BitsStored": 12, "HighBit": 11, "WindowCenter": "300", "WindowWidth": "200"}, 255),
        (_flat(90, np.uint16), {"RescaleSlope": "2", "WindowCenter": "180.5", "WindowWidth": "101"}, 128),
        # A window of no width is no window.
        (_flat(65535, np.uint16), {"WindowCenter": "300", "WindowWidth": "0"}, 255),
    ],
)
def test_grey_values_by_window_or_bits(values: np.ndarray, tags: dict[str, Any], expected: int):
    assert (_decode(dicom(values, **tags)).pixels == expected).all()


def test_a_palette_gives_its_colours():
    tags: dict[str, Any] = {"PhotometricInterpretation": "PALETTE COLOR"}
    for colour, value in (("Red", 200), ("Green", 90), ("Blue", 40)):
        tags[f"{colour}PaletteColorLookupTableDescriptor"] = [4, 0, 16]
        tags[f"{colour}PaletteColorLookupTableData"] = np.array([0, 0, 0, value << 8], "<u2").tobytes()
    assert (_decode(dicom(_flat(3), **tags)).pixels == (200, 90, 40)).all()


def test_the_first_of_many_frames_is_taken_and_said():
    frames = np.stack([_flat(50), _flat(200)])
    found = _decode(dicom(frames, NumberOfFrames=2))
    assert (found.pixels == 50).all()
    assert found.notices == ("first of 2 frames",)


@pytest.mark.parametrize(
    ("tags", "eye"),
    [({"ImageLaterality": "L"}, "left"), ({"Laterality": "R"}, "right"), ({"Laterality": "B"}, ""), ({}, "")],
)
def test_which_eye_it_is_comes_along_through_the_child(tags: dict[str, str], eye: str):
    found = decode_one(dicom(_flat(90), **tags), side_px=32)
    assert found.laterality == eye
    assert (found.pixels == 90).all()


def test_nothing_that_names_the_patient_comes_out():
    found = _decode(dicom(_flat(2048, np.uint16), ImageLaterality="L", NumberOfFrames=1))
    header = read_header(dicom(_flat(9)))
    assert not any(word in repr((found, header)) for word in ("Doe", "Jane", NUMBER, "2024"))


def _bad_files() -> dict[str, tuple[bytes, str]]:
    whole = dicom(_flat(90))
    return {
        "cut off in its pixels": (whole[:-600], "damaged or cut off"),
        "cut off in its header": (whole[:300], "holds no picture"),
        "the mark alone": (b"\0" * 128 + b"DICM", "damaged|holds no picture|does not say"),
        "no picture": (dicom(_flat(1), PixelData=None), "holds no picture|damaged"),
        "garbage behind the mark": (b"\0" * 128 + b"DICM" + bytes(range(256)) * 8, "DICOM file"),
        "bomb": (dicom(_flat(1), Rows=60000, Columns=60000), "60000 x 60000 pixels"),
        "many samples": (dicom(_flat(1), SamplesPerPixel=200), "damaged or cut off"),
        "too small": (dicom(np.zeros((4, 4), np.uint8), size=4), "at least 8 a side"),
        "JPEG lossless": (dicom(b"\xff\xd8\xff\xc3" * 9, syntax=JPEGLosslessSV1), "packed in a way"),
        "damaged JPEG": (dicom(encoded(picture(1), "JPEG")[:300], syntax=JPEGBaseline8Bit), "damaged"),
        "another size in the JPEG": (
            dicom(encoded(picture(1), "JPEG"), syntax=JPEGBaseline8Bit, size=16, PhotometricInterpretation="YBR_FULL"),
            "damaged",
        ),
    }


@pytest.mark.parametrize("what", list(_bad_files()))
def test_malformed_files_are_refused_in_one_sentence_without_their_words(what: str):
    data, reason = _bad_files()[what]
    with pytest.raises(BadImage, match=reason) as caught:
        _decode(data)
    assert str(caught.value).count(".") == 1
    assert "Doe" not in str(caught.value)
