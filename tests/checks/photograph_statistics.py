"""Sixteen statistics of fundus photographs, and what a collection of 1,097 real ones shows (quantiles only)."""

from pathlib import Path

import numpy as np
from PIL import Image
from skimage import color, filters

SIDE_PX = 400
# 5, 25, 50, 75 and 95 % quantiles over real photographs.
REAL = {
    "mean_r": (64.9, 105.5, 139.6, 171.8, 216.9),
    "mean_g": (40.47, 67.41, 91.58, 115.8, 156.4),
    "mean_b": (12.75, 41.06, 61.62, 88.39, 126.7),
    "sd_r": (15.39, 23.28, 28.69, 34.3, 42.44),
    "sd_g": (10.23, 16.47, 21.39, 25.57, 33.08),
    "sd_b": (5.009, 9.99, 14.54, 19.24, 27.02),
    "hue": (0.04178, 0.0596, 0.07091, 0.08481, 0.1693),
    "saturation": (0.2437, 0.3807, 0.5042, 0.6723, 0.8731),
    "value": (0.2558, 0.4146, 0.5493, 0.6742, 0.8504),
    "laplacian_sd_green_milli": (2.496, 4.404, 6.03, 7.352, 9.29),
    "spectrum_slope_green": (-3.527, -3.233, -2.994, -2.781, -2.497),
    "field_share_of_frame": (0.6795, 0.7189, 0.9107, 0.9693, 0.9844),
    "field_radius_share_of_half_width": (0.93, 0.955, 0.9975, 0.9975, 0.9975),
    "local_contrast_sd_green": (3.771, 6.188, 7.846, 9.225, 11.44),
    "share_darker_than_surround_by_12": (0.002852, 0.02414, 0.04109, 0.05815, 0.08376),
    "share_brighter_than_surround_by_12": (0.007435, 0.02253, 0.04043, 0.07561, 0.1359),
}
REAL_PROFILE = {
    "red": (1.071, 1.08, 1.12, 1.137, 1.131, 1.09, 1.022, 0.949, 0.8795, 0.817),
    "green": (1.085, 1.074, 1.115, 1.13, 1.115, 1.069, 1.004, 0.9446, 0.8981, 0.8821),
    "blue": (1.097, 1.025, 1.043, 1.065, 1.074, 1.05, 1.001, 0.9612, 0.9388, 0.9665),
}
REAL_CORRELATIONS = (0.8448, 0.6384, 0.9074)  # of channel means: red-green, red-blue, green-blue
LEAST_SPREAD, MOST_SPREAD = 0.6, 1.6  # of the real distance between the 5 % and the 95 % quantile
_ROWS, _COLUMNS = np.mgrid[0:SIDE_PX, 0:SIDE_PX]


def describe(path: Path) -> tuple[list[float], np.ndarray] | None:
    """The statistics in the order of `REAL` and the radial profile (3, 10); None for a black picture."""
    picture = np.asarray(Image.open(path).convert("RGB").resize((SIDE_PX, SIDE_PX)), np.float32)
    field = picture.max(axis=2) > 18
    if field.mean() < 0.2:
        return None
    rows, columns = np.nonzero(field)
    row, column = (rows.min() + rows.max()) / 2, (columns.min() + columns.max()) / 2
    radius = max(np.ptp(rows), np.ptp(columns)) / 2
    distance = np.hypot(_ROWS - row, _COLUMNS - column) / radius
    inside = field & (distance < 0.95)
    pixels, green = picture[inside], picture[..., 1]
    hsv = color.rgb2hsv(pixels[None] / 255.0)[0]
    surround = (green - filters.gaussian(green, 15))[inside]
    laplacian = filters.laplace(filters.gaussian(green / 255.0, 1))[inside].std() * 1000
    values = [
        *pixels.mean(axis=0), *pixels.std(axis=0), *hsv.mean(axis=0), laplacian, _slope(green, int(row), int(column)),
        field.mean(), radius / 200, surround.std(), (surround < -12).mean(), (surround > 12).mean(),
    ]  # fmt: skip
    return [float(value) for value in values], _profile(picture, field, distance, pixels.mean(axis=0))


def _slope(green: np.ndarray, row: int, column: int) -> float:
    """Slope of the power spectrum over frequencies 3 to 79 in a window of 220 px."""
    crop = green[row - 110 : row + 110, column - 110 : column + 110]
    crop = (crop - crop.mean()) * np.hanning(crop.shape[0])[:, None] * np.hanning(crop.shape[1])[None]
    power = np.abs(np.fft.fftshift(np.fft.fft2(crop))) ** 2
    frequency = np.hypot(*(np.indices(power.shape) - np.array(power.shape)[:, None, None] // 2)).astype(int)
    spectrum = np.bincount(frequency.ravel(), power.ravel())[1:100] / np.bincount(frequency.ravel())[1:100]
    return float(np.polyfit(np.log(np.arange(3, 80)), np.log(spectrum[2:79] + 1e-9), 1)[0])


def _profile(picture: np.ndarray, field: np.ndarray, distance: np.ndarray, means: np.ndarray) -> np.ndarray:
    rings = np.full((3, 10), np.nan)
    for ring in range(10):
        chosen = field & (distance >= ring / 10) & (distance < (ring + 1) / 10)
        if chosen.any():
            rings[:, ring] = picture[chosen].mean(axis=0) / np.maximum(means, 1)
    return rings


def compare(rows: np.ndarray) -> list[tuple[str, list[float], float, bool]]:
    """For rows (images, 16): name, quantiles, spread as a share of the real one, and whether both limits hold."""
    lines = []
    for index, (name, real) in enumerate(REAL.items()):
        found = [float(value) for value in np.quantile(rows[:, index], (0.05, 0.25, 0.5, 0.75, 0.95))]
        spread = (found[4] - found[0]) / (real[4] - real[0])
        is_good = real[1] <= found[2] <= real[3] and LEAST_SPREAD <= spread <= MOST_SPREAD
        lines.append((name, found, spread, is_good))
    return lines
