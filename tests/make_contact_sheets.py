"""Contact sheets of generated photographs: `python -m tests.make_contact_sheets FOLDER [--seed 0]`.

Writes two pictures, 5 grades by 8 eyes, one as photographed and one with rings round the lesions.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from lib.data.fundus.photograph import FundusCase, FundusPhotograph, draw_photograph
from lib.data.grades import GRADE_NAMES, LesionKind
from lib.data.images import retina_box
from lib.data.mask_overlay import mask_color, outline_mask

NAMES = ("fundus_contact_sheet.jpg", "fundus_contact_sheet_lesions.jpg")
_COLUMNS, _TILE_PX, _GAP_PX, _MARGIN_PX, _LEGEND_PX = 8, 184, 6, 132, 66
_GROUND, _INK = (16, 18, 18), (229, 231, 235)


def write_contact_sheets(folder: Path, *, seed: int = 0, columns: int = _COLUMNS, size_px: int = 512) -> list[Path]:
    """Draw the eyes and write both sheets; returns their paths."""
    rows = []
    for grade in range(len(GRADE_NAMES)):
        cases = [
            FundusCase(seed, 20_000 + columns * grade + number, bool(number % 2), grade) for number in range(columns)
        ]
        rows.append([draw_photograph(case, size_px=size_px) for case in cases])
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, is_outlined in zip(NAMES, (False, True), strict=True):
        written.append(folder / name)
        _sheet(rows, is_outlined=is_outlined).save(written[-1], quality=82, optimize=True)
    return written


def square_tile(photograph: FundusPhotograph, side_px: int, *, is_outlined: bool = False) -> Image.Image:
    """The retina's box of a photograph as a square, with rings round its lesions if asked for."""
    image = Image.fromarray(photograph.pixels)
    side = min(image.size)
    box = retina_box(image) or (0, 0, side, side)
    pixels = image.crop(box).resize((384, 384), Image.Resampling.LANCZOS)
    if is_outlined:
        mask = Image.fromarray(photograph.mask).crop(box).resize((384, 384), Image.Resampling.NEAREST)
        pixels = Image.fromarray(outline_mask(np.asarray(pixels), np.asarray(mask)))
    return pixels.resize((side_px, side_px), Image.Resampling.LANCZOS)


def _sheet(rows: list[list[FundusPhotograph]], *, is_outlined: bool) -> Image.Image:
    step = _TILE_PX + _GAP_PX
    width, height = _MARGIN_PX + step * len(rows[0]), step * len(rows) + _GAP_PX
    sheet = Image.new("RGB", (width, height + (_LEGEND_PX if is_outlined else 0)), _GROUND)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=18)
    for row, photographs in enumerate(rows):
        top = _GAP_PX + row * step
        pen.text((12, top + _TILE_PX // 2 - 22), f"{row}\n{GRADE_NAMES[row]}", fill=_INK, font=font)
        for column, photograph in enumerate(photographs):
            tile = square_tile(photograph, _TILE_PX, is_outlined=is_outlined)
            sheet.paste(tile, (_MARGIN_PX + column * step, top))
    if is_outlined:
        _legend(pen, top=height, width=width)
    return sheet


def _legend(pen: ImageDraw.ImageDraw, *, top: int, width: int) -> None:
    font = ImageFont.load_default(size=16)
    per_row = (len(LesionKind) + 1) // 2
    step = (width - 24) // per_row
    for index, kind in enumerate(LesionKind):
        x, y = 12 + step * (index % per_row), top + 4 + 30 * (index // per_row)
        pen.ellipse((x, y + 2, x + 16, y + 18), outline=mask_color(kind), width=4)
        pen.text((x + 26, y), kind.title, fill=_INK, font=font)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    write_contact_sheets(chosen.folder, seed=chosen.seed)
