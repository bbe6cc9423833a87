"""From the bytes of one untrusted file to one square of pixels. Pure; runs in the decoder's child process.

Pillow, with a list of allowed formats, and pydicom: torchvision's decoder can crash the process on malformed PNG files.
"""

import hashlib
import io
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from lib.data.dicom import DICOM_INFO, is_dicom, open_dicom
from lib.data.specs import FLOAT, FULL_RANGE, INTEGER, ValueRange, ValueScale, check_crop_policy, measure_range
from lib.errors import BadImage
from lib.settings import MAX_FILE_BYTES, MAX_IMAGE_PIXELS

if TYPE_CHECKING:
    from lib.data.photograph_quality import PhotographMeasures

Box = tuple[int, int, int, int]

_SEARCH_SIDE_PX = 256
_DARK_SHARE = 0.1  # of the bright level; as in B. Graham's winning entry to the Kaggle diabetic retinopathy task, 2015
_FILLED = (0.10, 0.97)  # a disc in a square fills 0.785; cut off above and below it fills up to about 0.9
_MIN_BRIGHT_LEVEL = 12  # of 255: below that the whole picture is black
_BRIGHTNESS = np.arange(3 * 255 + 1, dtype=np.float32) / np.float32(3)  # by the sum of three channels
# MPO is what many phones write: a JPEG file with a second picture behind the first.
ALLOWED_FORMATS = ("JPEG", "MPO", "PNG", "GIF", "BMP", "WEBP", "TIFF", "HEIF")
FORMATS_TEXT = "JPEG, PNG, GIF, BMP, WebP, TIFF, HEIC or DICOM"
MIN_SIDE_PX = 8

# Checked again by Pillow inside its readers, where a GIF may announce one size and hold another.
Image.MAX_IMAGE_PIXELS = MAX_IMAGE_PIXELS

HEAD_BYTES = 65536
_HEADER_FIRST = (b"\xff\xd8", b"\x89PNG")  # the formats whose size and mode stand in their first bytes

# What else lies under an image's name, by its first bytes in lower case.
_KNOWN_STRANGERS = (
    ((b"<!doctype", b"<html"), "a web page"),
    (b"<?xml", "an XML or SVG text"),
    (b"<svg", "an SVG drawing"),
    (b"%pdf", "a PDF document"),
    ((b"%!ps", b"\xc5\xd0\xd3\xc6"), "an EPS document"),
    (b"pk\x03\x04", "a zip archive"),
    (b"\x1f\x8b", "a compressed archive"),
    (b"\x00\x00\x01\x00", "an icon"),
    ((b"\x00\x00\x00\x0cjp  ", b"\xff\x4f\xff\x51"), "a JPEG 2000 image"),
    (b"dds ", "a DDS texture"),
    (b"8bps", "a Photoshop document"),
    (b"\x01\xda", "an SGI image"),
)


def retina_box(image: Image.Image) -> Box | None:
    """The box round a bright disc on a dark ground, padded to a square; None if there is no such disc.

    The square may reach beyond the image: where the camera cut the disc off above and below, black is filled in.
    """
    scale = max(1.0, max(image.size) / _SEARCH_SIDE_PX)
    small_size = (max(1, round(image.width / scale)), max(1, round(image.height / scale)))
    small = np.asarray(image.resize(small_size, Image.Resampling.BOX)).astype(np.uint16)
    total = small[..., 0] + small[..., 1] + small[..., 2]  # whole numbers: counts tell their quantile without a sort
    bright_level = float(np.float32(quantile_of(np.bincount(total.ravel()), 0.9) / 3))
    if bright_level < _MIN_BRIGHT_LEVEL:
        return None
    # Where a total is a tenth of the bright one, rounding decides: as ever, so that a file is cut as it always was.
    is_bright = total >= np.searchsorted(_BRIGHTNESS, np.float32(_DARK_SHARE * bright_level), side="right")
    if not _FILLED[0] <= is_bright.mean() <= _FILLED[1]:
        return None
    # A column counts with 2 % of bright pixels, so that specks and printed text do not widen the box.
    columns = np.flatnonzero(is_bright.mean(axis=0) > 0.02)
    rows = np.flatnonzero(is_bright.mean(axis=1) > 0.02)
    if not len(columns) or not len(rows):
        return None
    left, right = columns[0] * image.width / small_size[0], (columns[-1] + 1) * image.width / small_size[0]
    top, bottom = rows[0] * image.height / small_size[1], (rows[-1] + 1) * image.height / small_size[1]
    side = round(max(right - left, bottom - top))
    first_x, first_y = round((left + right - side) / 2), round((top + bottom - side) / 2)
    return first_x, first_y, first_x + side, first_y + side


def quantile_of(counts: np.ndarray, share: float) -> float:
    """The quantile of levels of which `counts` (L,) tells how often each occurs, as np.quantile gives it."""
    below = np.cumsum(counts)
    rank = share * (below[-1] - 1)
    low, high = np.searchsorted(below, (math.floor(rank), math.ceil(rank)), side="right")
    return float(low + (high - low) * (rank - math.floor(rank)))


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """What is known of a file before its pixels are kept; width and height are before any rotation."""

    width: int
    height: int
    num_bytes: int
    sha256: str
    values: ValueRange | None = None  # of an image of more than 8 bits
    camera: str = ""  # make and model, where the file names them
    is_whole: bool = True  # whether `sha256` is of the whole file, not of its first `HEAD_BYTES`

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> "ImageHeader":
        """From what `dataclasses.asdict` gave."""
        values = content["values"]
        return cls(**{**content, "values": ValueRange(**values) if values else None})


@dataclass(frozen=True, eq=False)
class DecodedImage:
    """A square of pixels and where it lay.

    `pixels` is uint8 (S, S, 3); `width` and `height` are the original's after its EXIF rotation, and `box` is
    (left, top, right, bottom) in those pixels; a retina's box may reach beyond the image. `sha256` is that of the
    file's bytes, by which the image is known again. `laterality` is "left" or "right" where a DICOM file says so.
    `measures` are of the square, where the decoder was asked for them.
    """

    pixels: np.ndarray
    width: int
    height: int
    box: Box
    notices: tuple[str, ...] = ()
    sha256: str = ""
    laterality: str = ""
    measures: "PhotographMeasures | None" = None


def decode_bytes(
    data: bytes, *, side_px: int, crop_policy: str, value_scale: ValueScale = FULL_RANGE, box: Box | None = None
) -> DecodedImage:
    """Decode the first frame, upright, as RGB on white, cropped by the policy and resized to `side_px`.

    `value_scale` says what becomes black and white in an image of more than 8 bits; `box` is the square to keep
    where it is known already. Raises BadImage with one plain reason, whatever Pillow says.
    """
    check_crop_policy(crop_policy)
    with _plain_reasons():
        image = _open(data)
        full_size = image.size
        # Lets libjpeg leave out what will not be seen: four times as fast on a camera's photograph.
        image.draft(None, (2 * side_px, 2 * side_px))
        image.load()
        told, laterality = image.info.get(DICOM_INFO, ((), ""))
        notices = [*told, *_frame_notice(image)]
        loaded_size = image.size
        try:
            ImageOps.exif_transpose(image, in_place=True)
        except Exception:  # noqa: BLE001  (damaged EXIF data must not cost the photograph)
            notices.append("EXIF orientation unreadable, taken as it is")
        if image.size != loaded_size:
            full_size = full_size[::-1]
        image = _to_rgb(image, value_scale, notices)
        box = box or _box(image, full_size, crop_policy, notices)
        pixels = np.array(_cut(image, box, full_size, side_px))
        return DecodedImage(pixels, full_size[0], full_size[1], box, tuple(notices), laterality=laterality)


def read_head(head: bytes, num_bytes: int) -> ImageHeader | None:
    """Read the header from the first bytes of a file of that size; None where these do not tell all that there is."""
    with suppress(Exception), _plain_reasons():
        if num_bytes <= MAX_FILE_BYTES and head.startswith(_HEADER_FIRST):
            image = _open(head)
            if _kind_of_values(image.mode) is None:
                digest, camera = hashlib.sha256(head).hexdigest(), _camera(image)
                return ImageHeader(*image.size, num_bytes, digest, camera=camera, is_whole=False)
    return None


def read_header(data: bytes) -> ImageHeader:
    """Read a file's header; values of more than 8 bits are decoded for their range. Raises BadImage."""
    with _plain_reasons():
        image, values = _open(data), None
        if (kind := _kind_of_values(image.mode)) is not None:
            try:
                values = measure_range(np.array(image), kind)
            except ValueError:
                raise BadImage("The image holds no finite value.") from None
        return ImageHeader(*image.size, len(data), hashlib.sha256(data).hexdigest(), values, _camera(image))


def _camera(image: Image.Image) -> str:
    """What EXIF says of make and model, as one printable line."""
    try:
        told = image.getexif()
        words = [str(told.get(tag) or "") for tag in (ExifTags.Base.Make, ExifTags.Base.Model)]
    except Exception:  # noqa: BLE001  (damaged EXIF data must not cost the photograph)
        return ""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in " ".join(words)).split())[:80]


@contextmanager
def _plain_reasons() -> Iterator[None]:
    """Turns warnings about bombs into errors and every exception into a BadImage."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "corrupt EXIF data" and such: the pixels are what counts
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            yield
        except BadImage:
            raise
        except Exception as error:
            raise BadImage(_reason(error)) from error


def _open(data: bytes) -> Image.Image:
    """Open a file of an allowed format and size, its pixels not yet decoded; raises BadImage."""
    if not data:
        raise BadImage("The file is empty (0 bytes).")
    if len(data) > MAX_FILE_BYTES:
        raise BadImage(f"The file has {len(data) / 2**20:.0f} MiB; at most {MAX_FILE_BYTES // 2**20} MiB are read.")
    if data[4:8] == b"ftyp":
        from pillow_heif import register_heif_opener

        register_heif_opener(thumbnails=False)
    Image.init()
    try:
        image = open_dicom(data) if is_dicom(data) else _open_by_pillow(data)
    except UnidentifiedImageError:
        raise BadImage(_why_unidentified(data)) from None
    width, height = image.size
    if width * height > MAX_IMAGE_PIXELS:
        raise BadImage(f"The image has {width} x {height} pixels; at most {MAX_IMAGE_PIXELS:,} are read.")
    if min(width, height) < MIN_SIDE_PX:
        raise BadImage(f"The image has only {width} x {height} pixels; at least {MIN_SIDE_PX} a side are needed.")
    return image


def _open_by_pillow(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data), formats=[name for name in ALLOWED_FORMATS if name in Image.OPEN])


def _why_unidentified(data: bytes) -> str:
    start = data[:256].lstrip().lower()
    if start.startswith((b"\xff\xd8", b"\x89png", b"gif8", b"bm", b"ii*\x00", b"mm\x00*")):
        return "The file begins like an image but its header is damaged."
    known = next((what for magic, what in _KNOWN_STRANGERS if start.startswith(magic)), None)
    if data[4:12] in (b"ftypavif", b"ftypavis"):
        known = "an AVIF image"
    return f"The file is {known}, not {FORMATS_TEXT}." if known else f"The file is not {FORMATS_TEXT}."


def _reason(error: Exception) -> str:
    if isinstance(error, (Image.DecompressionBombError, Image.DecompressionBombWarning)):
        return f"The image announces more than {MAX_IMAGE_PIXELS:,} pixels."
    if isinstance(error, MemoryError):
        return "Decoding the image needs too much memory."
    text = " ".join(str(error).split())
    if "truncated" in text.lower() or isinstance(error, EOFError):
        return "The image is cut off: its file ends too early."
    detail = "".join(letter for letter in text if letter.isprintable())[:100] or type(error).__name__
    return f"The image is damaged ({detail})."


def _frame_notice(image: Image.Image) -> list[str]:
    frames = 1
    with suppress(Exception):  # later frames may be damaged; the first is what is used
        if image.format in ("GIF", "PNG", "WEBP", "TIFF"):  # the second picture of a phone's MPO is no animation
            frames = int(getattr(image, "n_frames", 1))
        if frames > 1:
            image.seek(0)
            image.load()
            return [f"first of {frames} frames"]
    return []


def _kind_of_values(mode: str) -> str | None:
    """Whether a mode holds whole numbers of more than 8 bits or floats; None for all others.

    Colour images of 16 bits a channel are not among them: Pillow reads their upper 8 bits, which is one scale for all.
    """
    if mode == "F":
        return FLOAT
    return INTEGER if mode == "I" or mode.startswith("I;16") else None


def _to_rgb(image: Image.Image, value_scale: ValueScale, notices: list[str]) -> Image.Image:
    kind = _kind_of_values(image.mode)
    if kind is not None:
        return _scale_to_8_bits(image, kind, value_scale, notices)
    if image.has_transparency_data or image.mode in ("RGBa", "La"):
        image = image.convert("RGBA")
        ground = Image.new("RGB", image.size, "white")
        ground.paste(image, mask=image.getchannel("A"))
        return ground
    return image if image.mode == "RGB" else image.convert("RGB")  # which would copy all of a photograph


def _scale_to_8_bits(image: Image.Image, kind: str, value_scale: ValueScale, notices: list[str]) -> Image.Image:
    """Scale to 0..255 by the given range; what lies beyond it is black or white."""
    values = np.array(image, dtype=np.float32)  # changed in place below: 200 MB for the largest image
    if kind == FLOAT:
        is_finite = np.isfinite(values)
        if not is_finite.any():
            raise BadImage("The image holds no finite value.")
        least, most = float(values[is_finite].min()), float(values[is_finite].max())
        np.nan_to_num(values, copy=False, nan=least, neginf=least, posinf=most)
    given = value_scale.range_of(kind)
    first, last = given or _own_range(values, kind)
    values -= first
    values *= 255.0 / max(last - first, 1e-12)
    values += 0.5
    if (first, last) != (0.0, 255.0):
        notices.append(f"values {first:g} to {last:g} scaled to 8 bits" + ("" if given else ", by this file alone"))
    return Image.fromarray(np.clip(values, 0, 255, out=values).astype(np.uint8)).convert("RGB")


def _own_range(values: np.ndarray, kind: str) -> tuple[float, float]:
    """By the range that the values of one file use: 0..1, 8, 12 or 16 bits, else their own minimum and maximum.

    The rule of data sets and classifiers of before there was one scale for a set; they keep it.
    """
    low, high = float(values.min()), float(values.max())
    tops = (1.0, 255.0, 4095.0, 65535.0) if kind == FLOAT else (255.0, 4095.0, 65535.0)
    return next(((0.0, top) for top in tops if low >= 0 and high <= top), (low, high))


def _box(image: Image.Image, full_size: tuple[int, int], crop_policy: str, notices: list[str]) -> Box:
    """The square to keep, in pixels of the original, of which `image` may be a reduced copy."""
    if crop_policy == "retina_box":
        found = retina_box(image)
        if found:
            scale = full_size[0] / image.width
            left, top, side = round(found[0] * scale), round(found[1] * scale), round((found[2] - found[0]) * scale)
            return left, top, left + side, top + side
        notices.append("no retina found, centre square taken")
    side = min(full_size)
    left, top = ((length - side) // 2 for length in full_size)
    return left, top, left + side, top + side


def _cut(image: Image.Image, box: Box, full_size: tuple[int, int], side_px: int) -> Image.Image:
    scale_x, scale_y = image.width / full_size[0], image.height / full_size[1]
    left, top, right, bottom = box[0] * scale_x, box[1] * scale_y, box[2] * scale_x, box[3] * scale_y
    # Cut at whole pixels first: a crop fills black in beyond the edges, and keeps what lies outside out of the filter.
    first_x, first_y = math.floor(left), math.floor(top)
    cut = image.crop((first_x, first_y, math.ceil(right), math.ceil(bottom)))
    inside = (left - first_x, top - first_y, right - first_x, bottom - first_y)
    return cut.resize((side_px, side_px), Image.Resampling.BICUBIC, box=inside)


def decode_mask(data: bytes, *, image_size: tuple[int, int], box: Box, side_px: int) -> np.ndarray:
    """Decode a mask as uint8 (side_px, side_px), every value one of the file's.

    `image_size` is the width and height of its image, upright, and `box` the stored square in those pixels. Grey and
    palette pictures keep their values, black-and-white ones become 0 and 1; beyond the image it is 0.
    Raises BadImage with one plain reason.
    """
    with _plain_reasons():
        mask = _open(data)
        if mask.mode not in ("1", "L", "P"):
            raise BadImage(f"A mask must have one channel of 8 bits; this picture is {mask.mode}.")
        if mask.size != image_size:
            raise BadImage("The mask is {} x {} pixels, its image {} x {}.".format(*mask.size, *image_size))
        values = np.asarray(mask, dtype=np.uint8)
    left, top, right, bottom = (math.floor(edge) for edge in box)
    cut = Image.fromarray(values).crop((left, top, right, bottom))
    return np.asarray(cut.resize((side_px, side_px), Image.Resampling.NEAREST))
