"""How bright and how sharp pictures are: what is darker or more blurred than all training images is told so."""

from collections.abc import Iterable
from typing import Any

import numpy as np

# Beyond the range of the training images by a tenth of it: what lies just outside is no reason.
_MARGIN = 0.1
_DARK = 12  # of 255: the black around a retina is not part of the picture
_WORDS = {"brightness": ("darker", "brighter"), "sharpness": ("more blurred", "")}


def measure_picture(pixels: np.ndarray) -> dict[str, float]:
    """Brightness (0 to 255, mean of what is not black) and sharpness (0 and more) of a square (S, S, 3).

    Sharpness is the mean step between neighbours in relation to the spread of the picture: it does not depend on light.
    """
    grey = np.asarray(pixels, dtype=np.float32) @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
    is_lit = grey > _DARK
    lit = grey[is_lit] if is_lit.any() else grey.ravel()
    inner = is_lit[1:, 1:] & is_lit[:-1, 1:] & is_lit[1:, :-1]
    steps = np.abs(grey[1:, 1:] - grey[:-1, 1:]) + np.abs(grey[1:, 1:] - grey[1:, :-1])
    step = float(steps[inner].mean()) if inner.any() else 0.0
    return {"brightness": float(lit.mean()), "sharpness": step / max(float(lit.std()), 1.0)}


def quality_ranges(pictures: Iterable[np.ndarray]) -> dict[str, list[float]]:
    """The lowest and highest brightness and sharpness of pictures, as JSON keeps them; empty of none."""
    found = [measure_picture(pixels) for pixels in pictures]
    return {
        name: [round(min(one[name] for one in found), 4), round(max(one[name] for one in found), 4)]
        for name in _WORDS
        if found
    }


def quality_words(pixels: np.ndarray, ranges: Any) -> str:
    """What a picture is more than any of those of `ranges`, such as "darker and more blurred"; empty for nothing."""
    measured, said = measure_picture(pixels), []
    for name, (below, above) in _WORDS.items():
        try:
            low, high = (float(edge) for edge in ranges[name])
        except (KeyError, TypeError, ValueError):
            continue
        margin = _MARGIN * (high - low)
        if below and measured[name] < low - margin:
            said.append(below)
        elif above and measured[name] > high + margin:
            said.append(above)
    return " and ".join(said)
