"""How sharp, how well lit, how clear and how whole a fundus photograph is: numbers of its square, inside the retina.

All is measured at one size, so that the same eye from cameras of many megapixels and of few gives nearly the same
numbers. Sharpness is read from bands of detail (differences of Gaussians) in relation to the light around them, as the
quality measures of screening programmes do (Fleming et al. 2006, https://doi.org/10.1167/iovs.05-1155).
"""

import functools
import itertools
from dataclasses import dataclass

import numpy as np
import scipy  # whose parts load when they are first used
from PIL import Image

WORKING_SIDE_PX = 192
_SIGMAS_PX = (0.7, 1.4, 2.8, 5.6, 11.2)  # at the working size: bands lie between neighbours
_BANDS = ("finest", "fine", "middle", "coarse")
_BLOCK_PX = 4
_LIGHT_PX = 16.0  # deviation of the Gaussian that leaves illumination alone
_DARK_SHARE = 0.15  # of the bright level: beyond the rim
_RIM_PX = 6
_MIN_LEVEL = 1.0  # of 255, so that a black picture has finite numbers
_MIN_RETINA = 0.05  # of the square; below, the whole square counts
_DARK, _BRIGHT = 24.0, 236.0  # of 255: nothing to be seen any more
# What is asked of a picture that is said to be an eye: how much is lit of the disc's middle (cameras cut it off above
# and below) and of each corner, and redness. Of 171 photographs of cats and dogs two pass, of drawn eyes 59 in 100.
_MIN_FIELD, _MAX_CORNER, _CORNER_RADIUS, _MIN_REDNESS = 0.99, 0.1, 1.15, 1.02

MEASURE_NAMES = (
    *(f"detail_{band}" for band in _BANDS),
    *(f"edges_{band}" for band in _BANDS),
    *("brightness", "red", "green", "blue", "darkest", "brightest"),
    *("underexposed_share", "overexposed_share", "unevenness", "veil", "saturation", "contrast", "field"),
    *("red_peak", "green_peak", "blue_peak", "red_spread", "green_spread", "blue_spread", "red_skew", "green_skew"),
)


@dataclass(frozen=True, eq=False)
class PhotographMeasures:
    """What one square was measured as.

    Attributes:
        values: one number for each of `MEASURE_NAMES`.
        is_eye: whether there is a reddish disc on a dark ground: a fundus photograph, however poor.
    """

    values: dict[str, float]
    is_eye: bool


def measure_photograph(square: np.ndarray) -> PhotographMeasures:
    """The measures of a stored square, uint8 (S, S, 3), cropped to the retina's box; S of at least `WORKING_SIDE_PX`.

    Detail, edges and levels enter as natural logarithms; detail is the deviation of a band over the light around it,
    edges the 99th percentile of its size. `veil` is the least channel of the darkest places, `field` the share of the
    inscribed disc that is lit.
    """
    side = WORKING_SIDE_PX
    image = Image.fromarray(np.ascontiguousarray(square))
    if image.size != (side, side):
        image = image.resize((side, side), Image.Resampling.BOX if image.width > 2 * side else Image.Resampling.HAMMING)
    rgb = np.asarray(image, dtype=np.float32)
    mask = retina_mask(rgb)
    is_inside = _inner(mask)
    values = {**_detail(rgb, is_inside), **_light(rgb, is_inside), **_haze(rgb, is_inside)}
    disc = _disc()
    values["field"] = float(mask[disc].mean())
    red, green, blue = (float(np.exp(values[name])) for name in ("red", "green", "blue"))
    is_reddish = red >= _MIN_REDNESS * green and green >= _MIN_REDNESS * blue
    is_whole = float(mask[_middle()].mean()) >= _MIN_FIELD
    is_eye = is_reddish and is_whole and _fullest_corner(mask) <= _MAX_CORNER
    return PhotographMeasures({name: values[name] for name in MEASURE_NAMES}, bool(is_eye))


def retina_mask(rgb: np.ndarray) -> np.ndarray:
    """Bool (S, S): where a picture (S, S, 3) is lit in relation to its own bright level, specks of noise smoothed away.

    All of it where hardly anything is.
    """
    level = scipy.ndimage.uniform_filter(_largest(rgb), 5)
    ground = float(np.quantile(level, 0.02))
    bright = float(np.quantile(level, 0.9))
    mask = level > ground + _DARK_SHARE * (bright - ground)
    return mask if mask.mean() >= _MIN_RETINA else np.ones_like(mask)


def _inner(mask: np.ndarray) -> np.ndarray:
    """The mask without its rim, whose edge is no detail of the retina."""
    inner: np.ndarray = scipy.ndimage.minimum_filter(mask, 2 * _RIM_PX + 1, mode="constant", cval=0)
    inner &= _disc(0.94)
    return inner if inner.mean() >= _MIN_RETINA else mask


@functools.cache
def _disc(radius: float = 1.0) -> np.ndarray:
    """Bool (S, S): within so many half sides of the centre."""
    axis = (np.arange(WORKING_SIDE_PX) + 0.5) / WORKING_SIDE_PX * 2 - 1
    return np.asarray(np.hypot(axis[:, None], axis[None]) <= radius)


def _middle() -> np.ndarray:
    """Bool (S, S): the disc without its rim, and without what a camera cuts off above and below."""
    height = np.abs((np.arange(WORKING_SIDE_PX) + 0.5) / WORKING_SIDE_PX * 2 - 1)
    return np.asarray(_disc(0.9) & (height < 0.6)[:, None])


def _fullest_corner(mask: np.ndarray) -> float:
    """How much is lit of the corner that is lit most; all four are dark where a camera's field is round."""
    corners = ~_disc(_CORNER_RADIUS)
    half = WORKING_SIDE_PX // 2
    halves = slice(None, half), slice(half, None)
    lit = [mask[rows, columns][corners[rows, columns]].mean() for rows in halves for columns in halves]
    return float(max(lit))


def _detail(rgb: np.ndarray, inside: np.ndarray) -> dict[str, float]:
    """Bands of the green channel in relation to the light around."""
    green = rgb[..., 1]
    levels = [scipy.ndimage.gaussian_filter(green, sigma, truncate=3) for sigma in _SIGMAS_PX[:3]]
    # What is that smooth needs no more than half the side: a third of the time.
    half = green.reshape(WORKING_SIDE_PX // 2, 2, -1, 2).mean((1, 3))
    smooth = (scipy.ndimage.gaussian_filter(half, sigma / 2, truncate=3) for sigma in _SIGMAS_PX[3:])
    levels += [level.repeat(2, 0).repeat(2, 1) for level in smooth]
    around = np.maximum(levels[-1][inside], _MIN_LEVEL)
    found = {}
    for band, (fine, coarse) in zip(_BANDS, itertools.pairwise(levels), strict=True):
        relative = np.abs((fine - coarse)[inside] / around)
        found[f"detail_{band}"] = _log(float(np.sqrt((relative**2).mean())), 1e-4)
        found[f"edges_{band}"] = _log(float(np.quantile(relative, 0.99)), 1e-4)
    return found


def _light(rgb: np.ndarray, inside: np.ndarray) -> dict[str, float]:
    pixels = rgb[inside]
    grey = pixels @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
    weight, green = (_smooth(plane) for plane in (inside.astype(np.float32), rgb[..., 1] * inside))
    lit = weight > 0.3
    lamp = green[lit] / weight[lit] if lit.any() else green.ravel()
    low, high = np.quantile(grey, (0.02, 0.98))
    found = {"brightness": float(grey.mean()), "darkest": float(low), "brightest": float(high)}
    found |= {name: float(pixels[:, channel].mean()) for channel, name in enumerate(("red", "green", "blue"))}
    return (
        {name: _log(value, _MIN_LEVEL) for name, value in found.items()}
        | _tones(pixels)
        | {
            "underexposed_share": float((grey < _DARK).mean()),
            "overexposed_share": float((_largest(pixels) > _BRIGHT).mean()),
            "unevenness": float(lamp.std() / max(float(lamp.mean()), _MIN_LEVEL)),
        }
    )


def _tones(pixels: np.ndarray) -> dict[str, float]:
    """Where each channel (of 0..1) ends, how far it spreads, and to which side: highlights are pressed together."""
    found = {}
    for channel, name in enumerate(("red", "green", "blue")):
        low, middle, high = np.quantile(pixels[:, channel], (0.02, 0.5, 0.98)) / 255
        found[f"{name}_peak"], found[f"{name}_spread"] = float(high), float(high - low)
        found[f"{name}_skew"] = float((high + low - 2 * middle) / max(high - low, 0.01))
    return found


def _smooth(plane: np.ndarray) -> np.ndarray:
    """A plane (S, S) of which illumination alone is left, (S / 4, S / 4)."""
    side = WORKING_SIDE_PX // _BLOCK_PX
    blocks = plane.reshape(side, _BLOCK_PX, side, _BLOCK_PX).mean((1, 3))
    return np.asarray(scipy.ndimage.gaussian_filter(blocks, _LIGHT_PX / _BLOCK_PX, truncate=2))


def _haze(rgb: np.ndarray, inside: np.ndarray) -> dict[str, float]:
    """What scattered light does: no dark places, pale colours, little contrast."""
    pixels = rgb[inside]
    least, most = _smallest(pixels), _largest(pixels)
    green = pixels[:, 1]
    low, high = np.quantile(green, (0.05, 0.95))
    return {
        "veil": _log(float(np.quantile(least, 0.05)), _MIN_LEVEL),
        "saturation": float(((most - least) / np.maximum(most, _MIN_LEVEL)).mean()),
        "contrast": _log(float((high - low) / max(float(green.mean()), _MIN_LEVEL)), 1e-3),
    }


def _largest(colours: np.ndarray) -> np.ndarray:
    """The largest channel of (..., 3); plane by plane, many times as fast as a reduction over three values."""
    return np.asarray(np.maximum(np.maximum(colours[..., 0], colours[..., 1]), colours[..., 2]))


def _smallest(colours: np.ndarray) -> np.ndarray:
    return np.asarray(np.minimum(np.minimum(colours[..., 0], colours[..., 1]), colours[..., 2]))


def _log(value: float, least: float) -> float:
    return float(np.log(max(value, least)))
