"""Explicit measures of a fundus photograph: vessels, dark and bright spots, colour. Imports scikit-image late.

The chain is the classical one: even out the illumination of the green channel, enhance its contrast (CLAHE, Zuiderveld
1994), find vessels by a ridge filter (Sato 1998), and take what is left of a top-hat transform as candidates of lesions
(Walter et al. 2007, https://doi.org/10.1016/j.media.2007.05.001). Radii are in pixels of an image of 256 px and grow
with it. Candidates are dark or bright relative to the retina around them, so numbers compare between exposures.
"""

from dataclasses import dataclass

import numpy as np
import scipy  # whose parts load when they are first used

_REFERENCE_PX = 256
_RADII = (("small", 2), ("medium", 5), ("large", 10))
_AREAS = (("dots", 12), ("blots", 80), ("patches", 10**9))  # up to so many pixels of an image of 256 px
_QUANTILES = (1, 10, 90, 99)
_RED_DEPTH, _BRIGHT_HEIGHT = 0.08, 0.10  # of the brightness around
_RIDGE_HEIGHT = 0.03
_VESSEL_LENGTH = 48  # shorter ridges may be lesions
_DISC_RADIUS = 0.11  # of the side: the optic disc and its rim
_MIN_RETINA = 0.05  # of the image; below, the whole image counts


def _spot_names(kind: str) -> tuple[str, ...]:
    measures = ("mean", "p99", "count", "area", "total")
    by_radius = [f"{kind}_{size}_{what}" for size, _ in _RADII for what in measures]
    by_area = [f"{kind}_{name}_{what}" for name, _ in _AREAS for what in ("count", "area")]
    return (*by_radius, *by_area, f"{kind}_quadrants", f"{kind}_fullest_quadrant", f"{kind}_emptiest_quadrant")


FEATURE_NAMES: tuple[str, ...] = (
    *("vessel_mean", "vessel_p90", "vessel_p99", "vessel_area", "vessel_long_share", "vessel_pieces", "vessel_densest"),
    *_spot_names("red"),
    *_spot_names("bright"),
    *(f"{colour}_{what}" for colour in ("red", "green", "blue") for what in ("level", "spread")),
    *("saturation", "enhanced_spread", "sharpness", "retina_area"),
    *(f"green_p{quantile}" for quantile in _QUANTILES),
)


@dataclass(frozen=True)
class _Retina:
    """One photograph prepared: everything (H, W), `scale` its size against 256 px."""

    rgb: np.ndarray
    mask: np.ndarray
    relative: np.ndarray
    enhanced: np.ndarray
    scale: float


@dataclass(frozen=True, eq=False)
class FundusTrace:
    """What the measures were taken from, all (H, W), and the measures in the order of `FEATURE_NAMES`."""

    retina: np.ndarray  # bool: inside the rim
    relative: np.ndarray  # green against the brightness around, 0 where equal
    enhanced: np.ndarray  # the same with local contrast (CLAHE), 0..1
    vessels: np.ndarray  # bool
    disc: np.ndarray  # bool: where the optic disc probably lies, left out of the bright spots
    red: np.ndarray  # bool: candidates of bleedings
    bright: np.ndarray  # bool: candidates of exudates
    measures: np.ndarray  # float32 (D,)


def measure_fundus(rgb: np.ndarray) -> np.ndarray:
    """The numbers named in `FEATURE_NAMES`, float32, of one image (H, W, 3) in 0..1 of at least 32 px a side.

    Counts and totals enter as log(1 + x), areas as per mille of the retina.
    """
    return trace_fundus(rgb).measures


def trace_fundus(rgb: np.ndarray) -> FundusTrace:
    """The same with every picture on the way to the numbers."""
    retina = _prepare(rgb.astype(np.float32))
    disc = _optic_disc(retina)
    vessels, vessel_numbers = _vessels(retina)
    red, red_numbers = _spots("red", retina, -retina.relative, ~vessels, _RED_DEPTH)
    bright, bright_numbers = _spots("bright", retina, retina.relative, ~disc, _BRIGHT_HEIGHT)
    found = {**vessel_numbers, **red_numbers, **bright_numbers, **_colours(retina)}
    measures = np.nan_to_num(np.array([found[name] for name in FEATURE_NAMES], dtype=np.float32))
    return FundusTrace(retina.mask, retina.relative, retina.enhanced, vessels, disc, red, bright, measures)


def _prepare(rgb: np.ndarray) -> _Retina:
    from skimage.exposure import equalize_adapthist

    side = min(rgb.shape[:2])
    scale = side / _REFERENCE_PX
    mask = np.maximum(np.maximum(rgb[..., 0], rgb[..., 1]), rgb[..., 2]) > 0.08
    if mask.mean() < _MIN_RETINA:
        mask = np.ones_like(mask)
    rim = max(1, round(5 * scale))
    inner = scipy.ndimage.minimum_filter(mask, 2 * rim + 1, mode="constant", cval=0)
    inner = inner if inner.mean() >= _MIN_RETINA else mask
    green, weight = rgb[..., 1], mask.astype(np.float32)
    sigma = 0.07 * side
    share = _blurred(weight, sigma)
    around = _blurred(green * weight, sigma) / np.maximum(share, 1e-3)
    relative = np.where(mask, (green - around) / np.maximum(around, 0.05), 0).astype(np.float32)
    levels = np.clip(0.5 + relative / 2, 0, 1)
    enhanced = equalize_adapthist(levels, kernel_size=max(4, side // 8), clip_limit=0.01, nbins=128)
    return _Retina(rgb, inner, relative, enhanced.astype(np.float32), scale)


def _blurred(image: np.ndarray, sigma: float) -> np.ndarray:
    """Three running means, which together come close to a Gaussian and cost the same at every width."""
    for _ in range(3):
        image = scipy.ndimage.uniform_filter(image, max(1, round(2 * sigma)))
    return image


def _vessels(retina: _Retina) -> tuple[np.ndarray, dict[str, float]]:
    """What counts as a vessel (long connected ridges), and the numbers."""
    from skimage.filters import sato

    half = scipy.ndimage.uniform_filter(retina.enhanced, 2)[::2, ::2]
    ridges = sato(half, sigmas=[max(0.6, sigma * retina.scale) for sigma in (1.0, 2.0)], black_ridges=True)
    inside = retina.mask[::2, ::2]
    strength = ridges[inside]
    labels, number = scipy.ndimage.label((ridges > _RIDGE_HEIGHT) & inside, np.ones((3, 3)))
    boxes = scipy.ndimage.find_objects(labels, number)
    lengths = np.array([np.hypot(*(part.stop - part.start for part in box)) for box in boxes]).reshape(number)
    long_enough = lengths > _VESSEL_LENGTH / 2 * retina.scale  # the diagonal of the box round each piece
    is_long = np.concatenate([[False], long_enough])[labels]
    density = _blurred(is_long.astype(np.float32), 8 * retina.scale)[inside]
    vessels = scipy.ndimage.maximum_filter(is_long, 3).repeat(2, 0).repeat(2, 1)
    numbers = {
        "vessel_mean": float(strength.mean()) * 100,
        "vessel_p90": float(np.percentile(strength, 90)) * 100,
        "vessel_p99": float(np.percentile(strength, 99)) * 100,
        "vessel_area": float(is_long[inside].mean()) * 1000,
        "vessel_long_share": float(is_long.sum() / max(1, (labels > 0).sum())),
        "vessel_pieces": float(np.log1p(number)),
        "vessel_densest": float(density.max()),
    }
    return vessels[: retina.mask.shape[0], : retina.mask.shape[1]], numbers


def _optic_disc(retina: _Retina) -> np.ndarray:
    """Where the optic disc probably lies: round the brightest neighbourhood of the retina."""
    height, width = retina.mask.shape
    side = min(height, width)
    light = _blurred(retina.rgb[..., 0] + retina.rgb[..., 1], 0.04 * side)
    row, column = np.unravel_index(np.argmax(np.where(retina.mask, light, -1)), light.shape)
    rows, columns = np.ogrid[:height, :width]
    return np.hypot(rows - row, columns - column) < _DISC_RADIUS * side


def _spots(
    kind: str, retina: _Retina, height: np.ndarray, allowed: np.ndarray, least: float
) -> tuple[np.ndarray, dict[str, float]]:
    """What stands out by `least` where it is allowed, and the numbers: white top-hats of `height` at each radius."""
    where, area = retina.mask & allowed, max(1, int(retina.mask.sum()))
    smooth = scipy.ndimage.gaussian_filter(height, 0.6 * retina.scale)
    numbers: dict[str, float] = {}
    candidates = np.zeros_like(where)
    for name, radius in _RADII:
        hat = scipy.ndimage.white_tophat(smooth, 2 * max(1, round(radius * retina.scale)) + 1)
        inside = hat[retina.mask]
        is_spot = (hat > least) & where
        candidates |= is_spot
        numbers[f"{kind}_{name}_mean"] = float(inside.mean()) * 100
        numbers[f"{kind}_{name}_p99"] = float(np.percentile(inside, 99)) * 100
        numbers[f"{kind}_{name}_count"] = float(np.log1p(scipy.ndimage.label(is_spot)[1]))
        numbers[f"{kind}_{name}_area"] = float(np.log1p(is_spot.sum() / area * 1000))
        numbers[f"{kind}_{name}_total"] = float(np.log1p(hat[is_spot].sum() / area * 1000))
    return candidates, numbers | _sizes(kind, retina, candidates, area) | _quadrants(kind, candidates)


def _sizes(kind: str, retina: _Retina, candidates: np.ndarray, area: int) -> dict[str, float]:
    labels, _ = scipy.ndimage.label(candidates)
    areas = np.bincount(labels.ravel())[1:]
    numbers, below = {}, 1.0  # a single pixel is noise
    for name, limit in _AREAS:
        taken = areas[(areas > below) & (areas <= limit * retina.scale**2)]
        numbers[f"{kind}_{name}_count"] = float(np.log1p(len(taken)))
        numbers[f"{kind}_{name}_area"] = float(np.log1p(taken.sum() / area * 1000))
        below = max(1.0, limit * retina.scale**2)
    return numbers


def _quadrants(kind: str, candidates: np.ndarray) -> dict[str, float]:
    height, width = candidates.shape
    halves = (slice(None, height // 2), slice(height // 2, None)), (slice(None, width // 2), slice(width // 2, None))
    shares = [1000 * float(candidates[rows, columns].mean()) for rows in halves[0] for columns in halves[1]]
    return {
        f"{kind}_quadrants": float(sum(share > 1.0 for share in shares)),
        f"{kind}_fullest_quadrant": float(np.log1p(max(shares))),
        f"{kind}_emptiest_quadrant": float(np.log1p(min(shares))),
    }


def _colours(retina: _Retina) -> dict[str, float]:
    red, green, blue = (retina.rgb[..., channel][retina.mask] for channel in range(3))
    most, least = np.maximum(np.maximum(red, green), blue), np.minimum(np.minimum(red, green), blue)
    relative = retina.relative[retina.mask]
    numbers = {
        "saturation": float(((most - least) / np.maximum(most, 1e-3)).mean()),
        "enhanced_spread": float(retina.enhanced[retina.mask].std()),
        "sharpness": float(scipy.ndimage.laplace(retina.relative)[retina.mask].std()),
        "retina_area": float(retina.mask.mean()),
    }
    for colour, values in (("red", red), ("green", green), ("blue", blue)):
        numbers[f"{colour}_level"], numbers[f"{colour}_spread"] = float(values.mean()), float(values.std())
    quantiles = np.percentile(relative, _QUANTILES)
    return numbers | {f"green_p{q}": float(value) for q, value in zip(_QUANTILES, quantiles, strict=True)}
