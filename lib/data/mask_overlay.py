"""Masks laid over their images: a ring of the kind's colour round each marked region, which itself stays as it is."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import find_objects, label, maximum_filter

# Told apart on orange-red retina, also by people who confuse red and green; used again from the start beyond ten.
MASK_COLORS = (
    "#00E5FF", "#3D7BFF", "#8C5BFF", "#E64DFF", "#FFF23D", "#FFFFFF", "#00E08A", "#B4FF4D", "#FF9ECF", "#9FB4C0",
)  # fmt: skip

FAMILY_COLORS = ("#00E5FF", "#FFF23D", "#E64DFF")


@dataclass(frozen=True)
class MaskFamily:
    """Kinds of marked regions that are spoken of together: `values` are theirs in the masks."""

    title: str
    values: tuple[int, ...]


# Of the lesions of diabetic retinopathy, as eye doctors teach them.
_LESION_FAMILIES = (
    ("Red: bleedings and microaneurysms", ("Microaneurysm", "Dot haemorrhage", "Blot haemorrhage", "Flame haemorrhage",
                                           "Preretinal haemorrhage")),
    ("Bright: hard exudates and cotton-wool spots", ("Hard exudate", "Cotton-wool spot")),
    ("Vessels: beaded, abnormal or new", ("Venous beading", "IRMA", "Neovascularisation")),
)  # fmt: skip


def mask_families(mask_names: Sequence[str]) -> tuple[MaskFamily, ...]:
    """Three families of lesions where the masks name these; else the first kinds, each for itself."""
    values = {name: value for value, name in enumerate(mask_names, start=1)}
    found = [(title, tuple(values[name] for name in names if name in values)) for title, names in _LESION_FAMILIES]
    known = [MaskFamily(title, own) for title, own in found if own]
    return tuple(known or [MaskFamily(name, (value,)) for name, value in values.items()][: len(FAMILY_COLORS)])


def mask_color(value: int) -> str:
    """The colour of a mask's value (from 1) as "#RRGGBB"."""
    return MASK_COLORS[(value - 1) % len(MASK_COLORS)]


def outline_mask(pixels: np.ndarray, mask: np.ndarray, hex_colors: Sequence[str] = MASK_COLORS) -> np.ndarray:
    """Return a copy of an image (S, S, 3) with rings of two to three pixels of 384 round what its mask (S, S) marks."""
    width = max(1, round(pixels.shape[0] / 160))
    grown = maximum_filter(mask, size=2 * width + 1)
    ring = (grown > 0) & (mask == 0)
    colors = np.array([[int(color[i : i + 2], 16) for i in (1, 3, 5)] for color in hex_colors], dtype=np.uint8)
    outlined = pixels.copy()
    outlined[ring] = colors[(grown[ring].astype(int) - 1) % len(colors)]
    return outlined


def number_families(
    pixels: np.ndarray, mask: np.ndarray, families: Sequence[MaskFamily]
) -> tuple[np.ndarray, list[int]]:
    """A copy of an image (S, S, 3) with rings in the colour of each family, and how many regions of each are marked.

    The number of a family, from 1, stands beside its largest region.
    """
    from PIL import Image, ImageDraw, ImageFont

    of_family = np.zeros_like(mask)
    for number, family in enumerate(families, start=1):
        of_family[np.isin(mask, family.values)] = number
    image = Image.fromarray(outline_mask(pixels, of_family, FAMILY_COLORS))
    pen, size = ImageDraw.Draw(image), max(12, round(pixels.shape[0] / 14))
    font, counts = ImageFont.load_default(size), []
    for number, color in zip(range(1, len(families) + 1), FAMILY_COLORS, strict=False):
        regions, count = label(of_family == number, structure=np.ones((3, 3)))
        counts.append(int(count))
        if not count:
            continue
        largest = int(np.argmax(np.bincount(regions.ravel())[1:]))
        rows, columns = find_objects(regions)[largest]
        last = pixels.shape[0] - size
        place = min(columns.stop + size // 4, last), min(max(0, rows.start - size // 2), last)
        pen.text(place, str(number), fill=color, font=font, stroke_width=max(2, size // 9), stroke_fill="#101010")
    return np.asarray(image), counts
