"""Maps as tiles: one at its own scale, or several methods, stages or networks on one scale with their differences."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from lib.errors import UserError
from lib.explain.attribution_map import NO_EVIDENCE, AttributionMap
from lib.explain.pictures import FloatArray, PixelArray, Tile, luma, overlay, overlay_signed, resample

AUTO, RAW, OWN, SHARE = "auto", "raw", "own", "share"
UNITS = (AUTO, RAW, OWN, SHARE)
_UNIT_WORDS = {
    RAW: "in units of the answer", OWN: "as a share of each map's own full colour",
    SHARE: "in multiples of each map's own mean",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class SideBySide:
    """Several maps of one image on one scale.

    Attributes:
        tiles: a picture of each map, in the order given.
        differences: each map but the first less the first, red where it has more; without those of no evidence.
        unit: "raw" in units of the explained number, "own" of each map's full colour, "share" of its mean magnitude.
        full_colour: the magnitude at the end of the colours, the same in all pictures.
        note: how to read the scale, in words.
    """

    tiles: list[Tile]
    differences: list[Tile]
    unit: str
    full_colour: float
    note: str


def side_by_side(
    pixels: PixelArray, maps: Mapping[str, AttributionMap], *, unit: str = AUTO, alpha: float = 0.5
) -> SideBySide:
    """Draw maps, given by their titles, over one picture (S, S, 3) on one scale.

    `unit` "raw" keeps the numbers as computed, which mean the same for one method, stage and question; "own" divides
    each map by its own full colour; "share" by its own mean magnitude, so that 1 is what a map without any preference
    has everywhere and a map of few places has large numbers. "auto" takes "raw" where it means the same, else "own".

    Raises:
        UserError: no map, or an unknown unit.
    """
    if not maps:
        raise UserError("There is no map to draw; choose a method.")
    if unit not in UNITS:
        raise UserError(f"Unknown unit {unit!r}. Choose one of: {', '.join(UNITS)}.")
    kinds = {(one.method.name, one.stage, one.target_text, tuple(sorted(one.options.items()))) for one in maps.values()}
    unit = (RAW if len(kinds) == 1 else OWN) if unit == AUTO else unit
    divisors = {title: _divisor(one, unit) for title, one in maps.items()}
    seen = {title: one for title, one in maps.items() if one.has_evidence}
    largest = max((one.full_colour / divisors[title] for title, one in seen.items()), default=0.0)
    values = {title: one.raw / np.float32(divisors[title]) for title, one in seen.items()}
    tiles = [
        _tile(pixels, title, one, values[title] / largest if title in seen else None, alpha)
        for title, one in maps.items()
    ]
    first = next(iter(maps))
    differences = [
        _difference(pixels, f"{title} − {first}", _change(values[title], values[first]) / np.float32(largest), alpha)
        for title in values
        if title != first and first in values
    ]
    return SideBySide(tiles, differences, unit, largest, _note(unit, largest, has_difference=bool(differences)))


def _divisor(found: AttributionMap, unit: str) -> float:
    if unit == RAW:
        return 1.0
    return found.full_colour if unit == OWN else float(np.abs(found.raw).mean())


def map_tile(pixels: PixelArray, found: AttributionMap, title: str, *, alpha: float = 0.5) -> Tile:
    """One map at its own scale over its picture (S, S, 3); the grey picture where there is no evidence."""
    return _tile(pixels, title, found, found.raw / found.full_colour if found.has_evidence else None, alpha)


def _tile(pixels: PixelArray, title: str, found: AttributionMap, scaled: FloatArray | None, alpha: float) -> Tile:
    if scaled is None:
        grey = np.rint(luma(pixels)).astype(np.uint8)[..., None].repeat(3, axis=2)
        return Tile(title, NO_EVIDENCE, grey, found.stage)
    lay = overlay_signed if found.is_signed else overlay
    low = f"{found.raw.min():.2g} to " if found.is_signed else "up to "
    height, width = found.raw.shape
    where = f"{found.stage}: {height} × {width} cells" if found.stage else f"{height} × {width} pixels"
    return Tile(title, f"{where}, {low}{found.raw.max():.2g}", lay(pixels, scaled, alpha), found.stage)


def _change(values: FloatArray, first: FloatArray) -> FloatArray:
    shape = max(values.shape, first.shape)
    return resample(values, shape) - resample(first, shape)


def _difference(pixels: PixelArray, title: str, scaled: FloatArray, alpha: float) -> Tile:
    low, high = scaled.clip(-1, 1).min(), scaled.clip(-1, 1).max()  # beyond that there is no more colour
    caption = f"{100 * low:+.0f} % to {100 * high:+.0f} % of the full colour"
    return Tile(title, caption, overlay_signed(pixels, scaled, alpha))


def _note(unit: str, largest: float, *, has_difference: bool) -> str:
    if not largest:
        return NO_EVIDENCE
    words = f"One scale for all: the full colour is {largest:.2g}, {_UNIT_WORDS[unit]}."
    return f"{words} Difference: red has more than the first map, blue less." if has_difference else words
