"""What a fundus photograph shows, measured by hand-made filters: vessels, red and bright lesions, colour and contrast.

The explicit way to grade retinopathy, before features were learned: contrast enhancement, a vessel filter, morphology
for red and bright lesions, a classifier on the counts (review: Walter et al. 2002, doi 10.1109/TMI.2002.806290, for
bright lesions; Spencer et al. 1996, doi 10.1006/cbmr.1996.0021, for microaneurysms by top-hat). Filters and sizes are
ours. Sizes are shares of the image's side, so that they mean the same at any resolution.
"""

import numpy as np

# Radii of the structuring elements and areas that separate dots from blots, for an image of 320 px.
_SIDE_PX = 320
_RED_RADII = (2, 5)
_BRIGHT_RADII = (3, 7)
_AREAS = (3, 12, 40, 120, 600)  # px: below the first is noise, above the last is anatomy
_VESSEL_LEVEL = 0.06
# A finding is darker (lighter) than its surroundings by this much of the green channel's local average, and stands out
# of the image's own grain by this many deviations.
_LEAST_CONTRAST, _DEVIATIONS = 0.03, 6.0
_QUADRANTS = ("upper_left", "upper_right", "lower_left", "lower_right")


def retina_measures(image: np.ndarray) -> dict[str, float]:
    """Named measures of one photograph, always the same names in the same order.

    Args:
        image: float (S, S, 3), red, green, blue from 0 to 1.
    """
    from scipy.ndimage import gaussian_filter
    from skimage.exposure import equalize_adapthist

    retina = retina_mask(image)
    green = _even_light(image[..., 1], retina)
    enhanced = equalize_adapthist(green, kernel_size=max(8, len(image) // 8), clip_limit=0.01).astype(np.float32)
    vesselness = vessel_filter(enhanced, retina)
    vessels = vesselness > _VESSEL_LEVEL
    measures = {"retina_share": float(retina.mean())}
    measures |= _vessel_measures(vesselness, vessels, retina)
    smooth = gaussian_filter(green, 1.0)
    measures |= _lesion_measures("red", _red_candidates(smooth, retina, vessels), retina)
    bright = _bright_candidates(smooth, image, retina)
    measures |= _lesion_measures("bright", bright, retina)
    return measures | _colour_measures(image, enhanced, bright > 0, retina)


def retina_mask(image: np.ndarray) -> np.ndarray:
    """Where the retina is, bool (S, S): what is lighter than the dark frame, without a rim; everything if nothing is."""
    from scipy.ndimage import binary_erosion, gaussian_filter

    light = gaussian_filter(image.max(axis=2), len(image) / 100)
    mask = binary_erosion(light > 0.08, iterations=max(1, len(image) // 40), border_value=0)
    return mask if mask.mean() > 0.05 else np.ones_like(mask)


def vessel_filter(enhanced: np.ndarray, retina: np.ndarray) -> np.ndarray:
    """Strength of dark ridges, (S, S) from 0: the ridge filter of Sato et al. 1998 at three widths, at half the size."""
    from skimage.filters import sato
    from skimage.transform import resize

    side = len(enhanced)
    half = resize(enhanced, (side // 2, side // 2), order=1, anti_aliasing=True)
    ridges = sato(half, sigmas=(1.0, 2.0, 3.0), black_ridges=True, mode="reflect")
    return resize(ridges, (side, side), order=1).astype(np.float32) * retina


def _even_light(channel: np.ndarray, retina: np.ndarray) -> np.ndarray:
    """A channel over its local average, from 0 to 1 about 0.5; outside the retina it is 0.5."""
    from scipy.ndimage import gaussian_filter

    sigma = len(channel) / 16
    weight = gaussian_filter(retina.astype(np.float32), sigma) + 1e-3
    average = gaussian_filter(channel * retina, sigma) / weight
    even = 0.5 * channel / np.maximum(average, 0.02)
    return np.where(retina, np.clip(even, 0, 1), 0.5).astype(np.float32)


def _red_candidates(green: np.ndarray, retina: np.ndarray, vessels: np.ndarray) -> np.ndarray:
    """How much darker small things are than what surrounds them (black top-hat); 0 where they are none, or vessel."""
    from scipy.ndimage import grey_closing

    found = np.zeros_like(green)
    for radius in _RED_RADII:
        found = np.maximum(found, grey_closing(green, footprint=_disk(radius, len(green))) - green)
    return np.where(_stands_out(found, retina) & ~_elongated(vessels), found, 0)


def _bright_candidates(green: np.ndarray, image: np.ndarray, retina: np.ndarray) -> np.ndarray:
    """How much lighter small things are than what surrounds them (white top-hat), without the optic disc."""
    from scipy.ndimage import gaussian_filter, grey_opening

    side, found = len(green), np.zeros_like(green)
    for radius in _BRIGHT_RADII:
        found = np.maximum(found, green - grey_opening(green, footprint=_disk(radius, side)))
    blurred = np.where(retina, gaussian_filter(image[..., 0] + image[..., 1], side / 24), 0)
    row, column = np.unravel_index(int(blurred.argmax()), blurred.shape)
    rows, columns = np.ogrid[:side, :side]
    disc = (rows - row) ** 2 + (columns - column) ** 2 < (0.11 * side) ** 2
    return np.where(_stands_out(found, retina) & ~disc, found, 0)


def _stands_out(found: np.ndarray, retina: np.ndarray) -> np.ndarray:
    """Where a top-hat exceeds the grain of its image: the median and the median deviation, which lesions hardly move."""
    inside = found[retina]
    middle = float(np.median(inside))
    deviation = 1.4826 * float(np.median(np.abs(inside - middle)))
    return (found > max(_LEAST_CONTRAST, middle + _DEVIATIONS * deviation)) & retina


def _elongated(mask: np.ndarray) -> np.ndarray:
    """The connected parts of a mask that are longer than a lesion is: a tenth of the side."""
    from skimage.measure import label, regionprops_table

    labels = label(mask, connectivity=2)
    if not labels.any():
        return mask
    table = regionprops_table(labels, properties=("label", "bbox"))
    longest = np.maximum(table["bbox-2"] - table["bbox-0"], table["bbox-3"] - table["bbox-1"])
    is_long = np.zeros(labels.max() + 1, dtype=bool)
    is_long[table["label"]] = longest > 0.1 * len(mask)
    return is_long[labels]


def _lesion_measures(kind: str, strength: np.ndarray, retina: np.ndarray) -> dict[str, float]:
    """Counts by area, covered share, total contrast, and how the findings spread over the quadrants."""
    from skimage.measure import label, regionprops_table

    side, labels = len(strength), label(strength > 0, connectivity=2)
    areas, rows, columns = np.zeros(0), np.zeros(0), np.zeros(0)
    if labels.any():
        table = regionprops_table(labels, properties=("area", "centroid"))
        areas, rows, columns = table["area"] * (_SIDE_PX / side) ** 2, table["centroid-0"], table["centroid-1"]
    found = {}
    for low, high in zip(_AREAS, [*_AREAS[1:], np.inf], strict=True):
        found[f"{kind}_count_{low}"] = float(np.log1p(((areas >= low) & (areas < high)).sum()))
    covered = strength > 0
    found[f"{kind}_share"] = float(np.sqrt(covered.sum() / retina.sum()))
    found[f"{kind}_contrast"] = float(strength[covered].mean()) if covered.any() else 0.0
    found[f"{kind}_strongest"] = float(np.quantile(strength[retina], 0.999))
    is_lesion = (areas >= _AREAS[0]) & (areas < _AREAS[-1])
    quadrant = 2 * (rows >= side / 2) + (columns >= side / 2)
    counts = [float(((quadrant == number) & is_lesion).sum()) for number in range(4)]
    found |= {f"{kind}_{name}": float(np.log1p(value)) for name, value in zip(_QUADRANTS, counts, strict=True)}
    found[f"{kind}_quadrants"] = float(sum(value >= 2 for value in counts))
    found[f"{kind}_least_quadrant"] = float(np.log1p(min(counts)))
    return found


def _vessel_measures(vesselness: np.ndarray, vessels: np.ndarray, retina: np.ndarray) -> dict[str, float]:
    inside = vesselness[retina]
    found = {"vessel_share": float(vessels.sum() / retina.sum()), "vessel_mean": float(inside.mean()),
             "vessel_deviation": float(inside.std())}  # fmt: skip
    return found | {f"vessel_quantile_{round(100 * q)}": float(np.quantile(inside, q)) for q in (0.75, 0.9, 0.98)}


def _colour_measures(
    image: np.ndarray, enhanced: np.ndarray, bright: np.ndarray, retina: np.ndarray
) -> dict[str, float]:
    inside = image[retina]
    found = {f"{name}_mean": float(inside[:, channel].mean()) for channel, name in enumerate(("red", "green", "blue"))}
    found["green_deviation"] = float(inside[:, 1].std())
    found["contrast"] = float(enhanced[retina].std())
    down, across = np.gradient(enhanced)
    found["sharpness"] = float(np.hypot(down, across)[retina].mean())
    yellow = image[..., 0] + image[..., 1] - 2 * image[..., 2]
    found["bright_yellowness"] = float(yellow[bright].mean() - yellow[retina].mean()) if bright.any() else 0.0
    return found


def _disk(radius: int, side: int) -> np.ndarray:
    from skimage.morphology import disk

    return disk(max(1, round(radius * side / _SIDE_PX)))


MEASURE_NAMES: tuple[str, ...] = (
    "retina_share",
    "vessel_share", "vessel_mean", "vessel_deviation",
    "vessel_quantile_75", "vessel_quantile_90", "vessel_quantile_98",
    *(
        f"{kind}_{what}"
        for kind in ("red", "bright")
        for what in (
            *(f"count_{area}" for area in _AREAS), "share", "contrast", "strongest", *_QUADRANTS, "quadrants",
            "least_quadrant",
        )
    ),
    "red_mean", "green_mean", "blue_mean", "green_deviation", "contrast", "sharpness", "bright_yellowness",
)  # fmt: skip
