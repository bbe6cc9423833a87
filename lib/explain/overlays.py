"""Maps as pictures: perceptually uniform colours, laid over the photograph, encoded small."""

import io
from typing import Any

import numpy as np

from lib.errors import UserError

FloatArray = np.ndarray[Any, np.dtype[np.floating[Any]]]
PixelArray = np.ndarray[Any, np.dtype[np.uint8]]

MAX_SENT_PX = 384  # longest side of a picture that is sent to a browser

# 17 evenly spaced colours of each map, joined by straight lines: closer to the originals than 8 bits on a photograph
# can show. viridis: Smith and van der Walt 2015; cividis: Nuñez et al. 2018; RdBu (reversed): ColorBrewer 2.
_STOPS = {
    "viridis": "44015448186a472d7b4240863b528b33638d2c728e26828e21918c1fa08828ae803fbc735ec96284d44baddc30d8e219fde725",
    "cividis": "00224e002e6a1a386f32436d434e6c535a6d61656f6f70737d7c788c88789b9476aba072bcae6ccdbb63dec958f0d846fee838",
    "RdBu": "0530611752902a71b23f8ec06bacd19bc9e0c2ddece0ecf3f7f6f6fbe5d8fbccb4f5aa89e48066d05548ba2832930e2667001f",
}


def colorize(values: FloatArray, *, palette: str = "viridis") -> PixelArray:
    """Colour values in 0..1 (h, w) as (h, w, 3); palettes: "viridis", "cividis", "RdBu" (blue 0, white 0.5, red 1)."""
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
    from PIL import Image

    height, width = pixels.shape[:2]
    field = Image.fromarray(np.ascontiguousarray(heatmap, dtype=np.float32))
    enlarged = np.asarray(field.resize((width, height), Image.Resampling.BILINEAR))
    # ITU-R BT.601 luma, as Pillow's convert("L").
    grey = (pixels @ np.array([0.299, 0.587, 0.114]))[..., None]
    share = np.clip(alpha * (0.5 + np.clip(enlarged, 0.0, 1.0)), 0.0, 1.0)[..., None]
    return np.rint((1 - share) * grey + share * colorize(enlarged)).astype(np.uint8)


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
