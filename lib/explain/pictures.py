"""Maps as pictures: perceptually uniform colours, laid over the photograph; and sheets of them with their captions."""

import importlib.util
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lib.errors import UserError

FloatArray = np.ndarray[Any, np.dtype[np.floating[Any]]]
PixelArray = np.ndarray[Any, np.dtype[np.uint8]]

MAX_SENT_PX = 384  # longest side of a picture that is sent to a browser
TILE_PX = 224
GAP_PX = 16
MARGIN_PX = 32
MAX_COLUMNS = 7
INK, GREY, PAPER = (17, 24, 39), (91, 98, 112), (255, 255, 255)

# 17 evenly spaced colours of each map, joined by straight lines: closer to the originals than 8 bits on a photograph
# can show. viridis: Smith and van der Walt 2015; RdBu (reversed): ColorBrewer 2.
_STOPS = {
    "viridis": "44015448186a472d7b4240863b528b33638d2c728e26828e21918c1fa08828ae803fbc735ec96284d44baddc30d8e219fde725",
    "RdBu": "0530611752902a71b23f8ec06bacd19bc9e0c2ddece0ecf3f7f6f6fbe5d8fbccb4f5aa89e48066d05548ba2832930e2667001f",
}


def colorize(values: FloatArray, *, palette: str = "viridis") -> PixelArray:
    """Colour values in 0..1 (h, w) as (h, w, 3); palettes: "viridis", "RdBu" (blue 0, white 0.5, red 1)."""
    if palette not in _STOPS:
        raise UserError(f"Unknown palette {palette!r}. Choose one of: {', '.join(_STOPS)}.")
    stops = np.frombuffer(bytes.fromhex(_STOPS[palette]), dtype=np.uint8).reshape(-1, 3).astype(np.float64)
    position = np.clip(np.nan_to_num(values.astype(np.float64)), 0.0, 1.0) * (len(stops) - 1)
    low = np.minimum(position.astype(np.int64), len(stops) - 2)
    share = (position - low)[..., None]
    return np.rint(stops[low] * (1 - share) + stops[low + 1] * share).astype(np.uint8)


def overlay(pixels: PixelArray, heatmap: FloatArray, alpha: float = 0.5) -> PixelArray:
    """Lay a heatmap (h, w) in 0..1 over the grey photograph (S, S, 3); `alpha` is the mean share of the colour.

    The photograph loses its colours, so that every colour in the picture belongs to the map. The share rises with the
    value from `alpha / 2` to `3 alpha / 2` (at most 1), so that cold places stay readable. Cells are enlarged
    bilinearly: cell centres keep their values, and a 7 x 7 map stays as soft as it is.
    """
    enlarged = resample(heatmap, pixels.shape[:2])
    share = np.clip(alpha * (0.5 + np.clip(enlarged, 0.0, 1.0)), 0.0, 1.0)[..., None]
    return np.rint((1 - share) * luma(pixels)[..., None] + share * colorize(enlarged)).astype(np.uint8)


def overlay_signed(pixels: PixelArray, values: FloatArray, alpha: float = 0.5) -> PixelArray:
    """Lay a signed map (h, w) in -1..1 over the grey photograph: red speaks for, blue against, zero stays grey.

    The share of the colour grows with the magnitude, to `2 alpha` (at most 1); cells are enlarged as in `overlay`.
    """
    enlarged = np.clip(resample(values, pixels.shape[:2]), -1.0, 1.0)
    share = np.clip(2 * alpha * np.abs(enlarged), 0.0, 1.0)[..., None]
    colours = colorize(0.5 + 0.5 * np.sign(enlarged) * (0.4 + 0.6 * np.abs(enlarged)), palette="RdBu")
    return np.rint((1 - share) * luma(pixels)[..., None] + share * colours).astype(np.uint8)


def resample(values: FloatArray, shape: Sequence[int]) -> FloatArray:
    """A map (h, w) at another size (H, W), bilinear; cell centres keep their values when it grows."""
    from PIL import Image

    image = Image.fromarray(np.ascontiguousarray(values, dtype=np.float32))
    return np.asarray(image.resize((shape[1], shape[0]), Image.Resampling.BILINEAR))


def luma(pixels: PixelArray) -> FloatArray:
    """The brightness (S, S), 0 to 255, of a photograph: ITU-R BT.601, as Pillow's convert("L")."""
    return np.asarray(pixels @ np.array([0.299, 0.587, 0.114]))


def magnitude_picture(values: FloatArray, side_px: int, *, low: float = 0.0, high: float | None = None) -> PixelArray:
    """A map (h, w) as square cells in viridis from `low` (violet) to `high` (yellow; by default the map's maximum)."""
    top = float(values.max()) if high is None else high
    return enlarge_cells(colorize((values - low) / (top - low) if top > low else np.zeros_like(values)), side_px)


def signed_picture(values: FloatArray, side_px: int, *, largest: float | None = None) -> PixelArray:
    """A signed map (h, w) as square cells: blue for -largest, white for 0, red for +largest."""
    top = float(np.abs(values).max()) if largest is None else largest
    return enlarge_cells(colorize(0.5 + 0.5 * values / (top if top > 0 else 1.0), palette="RdBu"), side_px)


def enlarge_cells(pixels: PixelArray, side_px: int) -> PixelArray:
    """Resize (h, w, 3) to about `side_px` on the longest side without smoothing when it grows: a cell stays a cell."""
    from PIL import Image

    height, width = pixels.shape[:2]
    scale = side_px / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    method = Image.Resampling.NEAREST if scale >= 1 else Image.Resampling.BOX
    return np.asarray(Image.fromarray(pixels).resize(size, method))


def to_jpeg(pixels: PixelArray, max_side_px: int = MAX_SENT_PX) -> bytes:
    """Encode a photograph or an overlay as JPEG, its longest side at most `max_side_px`."""
    return _encode(pixels, max_side_px, "JPEG", quality=88, optimize=True)


def to_png(pixels: PixelArray, max_side_px: int | None = MAX_SENT_PX) -> bytes:
    """Encode a picture with hard edges (cells, filters, text) as PNG; None keeps its size."""
    return _encode(pixels, max_side_px or max(pixels.shape[:2]), "PNG", optimize=True)


def _encode(pixels: PixelArray, max_side_px: int, kind: str, **options: Any) -> bytes:
    from PIL import Image

    image = Image.fromarray(np.ascontiguousarray(pixels))
    image.thumbnail((max_side_px, max_side_px), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@dataclass(frozen=True)
class Tile:
    """One picture of a strip with its title and what must be known to read it; `stage` is the stage's code name."""

    title: str
    caption: str
    pixels: PixelArray
    stage: str = ""


def sheet_png(tiles: Sequence[Tile], *, title: str, notes: Sequence[str] = ()) -> bytes:
    """Lay tiles out in even rows of at most seven under a title, notes below; returns the bytes of a PNG file."""
    from PIL import Image, ImageDraw

    columns = balanced_columns(len(tiles))
    rows = -(-len(tiles) // columns)
    width = max(2 * MARGIN_PX + columns * (TILE_PX + GAP_PX) - GAP_PX, 720)
    row_px = TILE_PX + 72
    lines = [line for note in notes for line in _wrap(note, _font(18), width - 2 * MARGIN_PX)]
    sheet = Image.new("RGB", (width, MARGIN_PX + 52 + rows * row_px + 28 * len(lines) + MARGIN_PX), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((MARGIN_PX, MARGIN_PX - 8), _printable(title), font=_font(26), fill=INK)
    for index, tile in enumerate(tiles):
        left = MARGIN_PX + index % columns * (TILE_PX + GAP_PX)
        top = MARGIN_PX + 52 + index // columns * row_px
        # A picture smaller than its tile is a grid of cells, which must not be smoothed.
        is_smooth = min(tile.pixels.shape[:2]) >= TILE_PX
        method = Image.Resampling.LANCZOS if is_smooth else Image.Resampling.NEAREST
        picture = Image.fromarray(tile.pixels).resize((TILE_PX, TILE_PX), method)
        sheet.paste(picture, (left, top))
        draw.text((left, top + TILE_PX + 8), _fit(tile.title, _font(18)), font=_font(18), fill=INK)
        draw.text((left, top + TILE_PX + 32), _fit(tile.caption, _font(16)), font=_font(16), fill=GREY)
    for index, line in enumerate(lines):
        top = MARGIN_PX + 52 + rows * row_px + 28 * index
        draw.text((MARGIN_PX, top), line, font=_font(18), fill=GREY)
    return to_png(np.asarray(sheet), None)


def balanced_columns(num_tiles: int, most: int = MAX_COLUMNS) -> int:
    """Columns for the fewest rows of at most `most` tiles, the rows filled evenly: 10 tiles make 5 and 5."""
    rows = max(1, -(-num_tiles // most))
    return max(1, -(-num_tiles // rows))


def _font(size_px: int) -> Any:
    from PIL import ImageFont

    # matplotlib (which captum and mlflow need) carries Latin, Greek and Cyrillic; Pillow's own font knows ASCII only.
    package = importlib.util.find_spec("matplotlib")
    if package and package.origin:
        dejavu = Path(package.origin).parent / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"
        if dejavu.is_file():
            return ImageFont.truetype(str(dejavu), size_px)
    return ImageFont.load_default(size_px)


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in text)


def _fit(text: str, font: Any) -> str:
    text = shown = _printable(text)
    while text and font.getlength(shown) > TILE_PX:
        text = text[:-1]
        shown = text + "…"
    return shown


def _wrap(text: str, font: Any, width_px: int) -> list[str]:
    lines: list[str] = []
    for word in _printable(text).split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and font.getlength(longer) <= width_px:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines
