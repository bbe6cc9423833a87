"""Explanations as picture files: labelled tiles side by side, with what they show written under them."""

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lib.atomic import atomic_path
from lib.explain.overlays import PixelArray, to_png

TILE_PX = 224
GAP_PX = 16
MARGIN_PX = 32
MAX_COLUMNS = 7
INK, GREY, PAPER = (17, 24, 39), (91, 98, 112), (255, 255, 255)


@dataclass(frozen=True)
class Tile:
    """One picture of a strip with its title and what must be known to read it; `stage` is the stage's code name."""

    title: str
    caption: str
    pixels: PixelArray
    stage: str = ""


def compose_sheet(tiles: Sequence[Tile], *, title: str, notes: Sequence[str] = ()) -> PixelArray:
    """Lay tiles out in even rows of at most seven under a title, notes below; returns (H, W, 3)."""
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
        picture = Image.fromarray(tile.pixels).resize((TILE_PX, TILE_PX), _method(tile.pixels))
        sheet.paste(picture, (left, top))
        draw.text((left, top + TILE_PX + 8), _fit(tile.title, _font(18)), font=_font(18), fill=INK)
        draw.text((left, top + TILE_PX + 32), _fit(tile.caption, _font(16)), font=_font(16), fill=GREY)
    for index, line in enumerate(lines):
        top = MARGIN_PX + 52 + rows * row_px + 28 * index
        draw.text((MARGIN_PX, top), line, font=_font(18), fill=GREY)
    return np.asarray(sheet)


def balanced_columns(num_tiles: int, most: int = MAX_COLUMNS) -> int:
    """Columns for the fewest rows of at most `most` tiles, the rows filled evenly: 10 tiles make 5 and 5."""
    rows = max(1, -(-num_tiles // most))
    return max(1, -(-num_tiles // rows))


def sheet_png(tiles: Sequence[Tile], *, title: str, notes: Sequence[str] = ()) -> bytes:
    """The sheet of `compose_sheet` as the bytes of a PNG file, in full size."""
    return to_png(compose_sheet(tiles, title=title, notes=notes), None)


def save_strip_png(path: Path, tiles: Sequence[Tile], *, title: str, notes: Sequence[str] = ()) -> None:
    """Write the sheet of `compose_sheet` to a PNG file, whole or not at all."""
    content = sheet_png(tiles, title=title, notes=notes)
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def _method(pixels: PixelArray) -> Any:
    from PIL import Image

    # A picture smaller than its tile is a grid of cells, which must not be smoothed.
    return Image.Resampling.LANCZOS if min(pixels.shape[:2]) >= TILE_PX else Image.Resampling.NEAREST


def _font(size_px: int) -> Any:
    from PIL import ImageFont

    # matplotlib (a dependency of captum and mlflow) carries DejaVu Sans with Latin, Greek and Cyrillic; found without
    # importing it. Pillow's own font knows ASCII only.
    package = importlib.util.find_spec("matplotlib")
    if package and package.origin:
        dejavu = Path(package.origin).parent / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"
        if dejavu.is_file():
            return ImageFont.truetype(str(dejavu), size_px)
    return ImageFont.load_default(size_px)


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in text)


def _fit(text: str, font: Any) -> str:
    text = _printable(text)
    if font.getlength(text) <= TILE_PX:
        return text
    while text and font.getlength(text + "…") > TILE_PX:
        text = text[:-1]
    return text + "…"


def _wrap(text: str, font: Any, width_px: int) -> list[str]:
    lines: list[str] = []
    for word in _printable(text).split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and font.getlength(longer) <= width_px:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines
