"""A photograph out of a DICOM file: its first frame, and which eye it says it is. Nothing else of the file is read.

Only the tags that describe the picture are asked for, so that names, numbers and dates of a patient never enter the
program. What a broken file says of itself goes into no message either. Runs in the decoder's child process.
"""

import io
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from lib.errors import BadImage
from lib.settings import MAX_IMAGE_PIXELS

if TYPE_CHECKING:
    from pydicom import Dataset

DICOM_INFO = "transferscope_dicom"  # in `Image.info`: (notices, laterality)
_TAGS = (
    *("Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelData", "VOILUTFunction"),
    *("RescaleSlope", "RescaleIntercept", "WindowCenter", "WindowWidth", "ImageLaterality", "Laterality"),
    *(
        f"{colour}PaletteColorLookupTable{part}"
        for colour in ("Red", "Green", "Blue")
        for part in ("Descriptor", "Data")
    ),
    *(f"Segmented{colour}PaletteColorLookupTableData" for colour in ("Red", "Green", "Blue")),
    *("ExtendedOffsetTable", "ExtendedOffsetTableLengths"),
)
_EYES = {"L": "left", "R": "right"}
_MARK_AT = 128  # bytes of preamble before the mark


def is_dicom(data: bytes) -> bool:
    """Whether a file bears the mark of DICOM."""
    return data[_MARK_AT : _MARK_AT + 4] == b"DICM"


def open_dicom(data: bytes) -> Image.Image:
    """The first frame, 8 bits deep, RGB or grey; `Image.info[DICOM_INFO]` holds its notices and laterality.

    Deep values are scaled by the file's own window, else by the bits that it says it stores: DICOM states what is black
    and white, so that no data set has to.

    Raises:
        BadImage: with one plain reason, of which no word comes from the file.
    """
    from pydicom import dcmread

    try:
        content = dcmread(io.BytesIO(data), specific_tags=list(_TAGS))
        is_picture = "PixelData" in content and int(content.Rows) > 0 and int(content.Columns) > 0
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001  (malformed files raise whatever they meet)
        raise BadImage("The DICOM file is damaged: its header cannot be read.") from None
    if not is_picture:
        raise BadImage("The DICOM file holds no picture.")
    width, height = int(content.Columns), int(content.Rows)
    if width * height > MAX_IMAGE_PIXELS:
        raise BadImage(f"The image has {width} x {height} pixels; at most {MAX_IMAGE_PIXELS:,} are read.")
    return _first_frame(content)


def _first_frame(content: "Dataset") -> Image.Image:
    from pydicom.pixels import pixel_array

    _refuse_unreadable(content)
    try:
        frames = int(content.get("NumberOfFrames") or 1)
        values = pixel_array(content, index=0)  # YBR becomes RGB on the way
        notices = [f"first of {frames} frames"] if frames > 1 else []
        pixels = _to_8_bits(values, content, notices)
        if pixels.shape[:2] != (int(content.Rows), int(content.Columns)):
            raise ValueError(pixels.shape)
        image = Image.fromarray(pixels)
    except (MemoryError, Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise
    except Exception:  # noqa: BLE001  (the decoders of pydicom raise many kinds)
        raise BadImage("The picture in the DICOM file is damaged or cut off.") from None
    laterality = str(content.get("ImageLaterality") or content.get("Laterality") or "")
    image.info[DICOM_INFO] = notices, _EYES.get(laterality.strip().upper(), "")
    return image


def _refuse_unreadable(content: "Dataset") -> None:
    """Raise BadImage where no decoder at hand reads this packing of pixels."""
    from pydicom.pixels import get_decoder

    meta: Any = getattr(content, "file_meta", None)
    try:
        syntax = meta.TransferSyntaxUID
        is_plain = not syntax.is_encapsulated
        is_known = is_plain or get_decoder(syntax).is_available
    except Exception:  # noqa: BLE001  (a missing or private syntax)
        raise BadImage("The DICOM file does not say how its picture is packed.") from None
    if not is_known:
        raise BadImage(
            "The picture in the DICOM file is packed in a way that cannot be read here; save it uncompressed, as JPEG, "
            "JPEG 2000 or RLE."
        )


def _to_8_bits(values: np.ndarray, content: "Dataset", notices: list[str]) -> np.ndarray:
    """uint8 (h, w) or (h, w, 3)."""
    from pydicom.pixels import apply_color_lut

    kind = str(content.get("PhotometricInterpretation") or "").upper()
    if kind == "PALETTE COLOR":
        colours = apply_color_lut(values, content)
        return (colours >> 8).astype(np.uint8) if colours.dtype.itemsize > 1 else colours.astype(np.uint8)
    if values.ndim == 3:
        return _scaled(values, 0.0, 2.0 ** int(content.BitsStored) - 1, notices)
    low, high = _window(content)
    slope, intercept = float(content.get("RescaleSlope") or 1), float(content.get("RescaleIntercept") or 0)
    grey = _scaled(values * np.float32(slope) + np.float32(intercept), low, high, notices)
    return 255 - grey if kind == "MONOCHROME1" else grey


def _window(content: "Dataset") -> tuple[float, float]:
    """Which values of a grey picture are black and white: of its first window, or all that its bits can hold."""
    centres, widths = (np.atleast_1d(content.get(name) or []) for name in ("WindowCenter", "WindowWidth"))
    if len(centres) and len(widths) and float(widths[0]) >= 1:
        # The linear function of DICOM PS3.3, C.11.2.1.2.1.
        centre, width = float(centres[0]) - 0.5, max(float(widths[0]) - 1, 1e-3)
        return centre - width / 2, centre + width / 2
    bits, is_signed = int(content.BitsStored), bool(content.get("PixelRepresentation"))
    slope, intercept = float(content.get("RescaleSlope") or 1), float(content.get("RescaleIntercept") or 0)
    least = -(2.0 ** (bits - 1)) if is_signed else 0.0
    return least * slope + intercept, (least + 2.0**bits - 1) * slope + intercept


def _scaled(values: np.ndarray, low: float, high: float, notices: list[str]) -> np.ndarray:
    if (low, high) == (0.0, 255.0):
        return np.clip(values, 0, 255).astype(np.uint8)
    if high > 255 or low < 0:
        notices.append(f"values {low:g} to {high:g} scaled to 8 bits")
    scaled = (values.astype(np.float32) - np.float32(low)) * np.float32(255 / (high - low))
    return np.asarray(np.clip(scaled + 0.5, 0, 255).astype(np.uint8))
