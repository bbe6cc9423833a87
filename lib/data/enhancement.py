"""Changes of the picture before a network sees it: one table of steps, chained by "+", made for fundus photographs.

Each step works on stored squares (uint8) and gives stored squares, so training, cached features, explaining and grading
share one path. What a step has to know of a data set (its mean colour) comes from training images alone and is kept
with the classifier. Imports no torch: pages preview the steps.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from lib.data.enhancement_steps import (
    crop_aspect,
    crop_retina,
    equalise,
    field_mean,
    set_brightness,
    subtract_local_average,
)
from lib.errors import UserError
from lib.registry import Registry

NONE = "none"
VERSION = 1  # of the arithmetic in enhancement_steps.py: a part of every cache key
MEAN_SAMPLE = 400  # training images that the mean colour is taken of
# One square (S, S, 3) uint8 and the mean colour of the set (3,) in, one square out.
Apply = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Enhancement:
    """One step. `moves`: it crops, so that maps lie on its result; `needs_mean`: it reads the data set's mean.

    `is_for_fundus`: it was made for fundus photographs and is not offered for others.
    """

    name: str
    title: str
    summary: str
    source: str
    apply: Apply
    moves: bool = False
    needs_mean: bool = False
    is_for_fundus: bool = False


@dataclass(frozen=True)
class EnhancementChain:
    """Steps in the order of the table, with the set's mean colour (levels of 255) where one of them reads it."""

    names: tuple[str, ...] = ()
    mean_rgb: tuple[int, int, int] | None = None

    @property
    def text(self) -> str:
        """As settings and manifests write it: "brightness+clahe", or "none"."""
        return "+".join(self.names) or NONE

    @property
    def key(self) -> str:
        """What it adds to a cache's key; empty for pictures as they are."""
        return f"{self.text}/{VERSION}/{self.mean_rgb}" if self.names else ""

    @property
    def needs_mean(self) -> bool:
        """Whether a step reads the set's mean colour."""
        return any(ENHANCEMENTS.get(name).needs_mean for name in self.names)

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """Run all steps on uint8 (N, S, S, 3); the array given stays as it was."""
        return self._run(pixels, self.names)

    def framed(self, pixels: np.ndarray) -> np.ndarray:
        """Only the steps that crop: the picture that maps of the network lie on, in its own colours."""
        return self._run(pixels, tuple(name for name in self.names if ENHANCEMENTS.get(name).moves))

    def to_dict(self) -> dict[str, Any]:
        """What a manifest keeps."""
        return {"steps": self.text, "mean_rgb": list(self.mean_rgb) if self.mean_rgb else None, "version": VERSION}

    def _run(self, pixels: np.ndarray, names: Sequence[str]) -> np.ndarray:
        if not names:
            return pixels
        if self.mean_rgb is None and any(ENHANCEMENTS.get(name).needs_mean for name in names):
            raise ValueError("The mean colour of the training images is missing.")
        steps = [ENHANCEMENTS.get(name).apply for name in names]
        mean = np.array(self.mean_rgb or (0, 0, 0), dtype=np.float32)

        def one(square: np.ndarray) -> np.ndarray:
            for step in steps:
                square = step(square, mean)
            return square

        # Two threads: the filters of numpy, scipy and Pillow let go of the interpreter.
        with ThreadPoolExecutor(2) as pool:
            return np.stack(list(pool.map(one, pixels)))


NO_ENHANCEMENT = EnhancementChain()


def parse_chain(text: str) -> tuple[str, ...]:
    """The names in "brightness+clahe", in the order of the table; () for "none".

    Raises:
        UserError: an unknown or doubled name, or two steps that undo each other.
    """
    names = [name.strip() for name in text.split("+")] if text.strip() not in ("", NONE) else []
    for name in names:
        if name not in ENHANCEMENTS:
            ENHANCEMENTS.get(name)
    if len(set(names)) < len(names):
        raise UserError(f"The preprocessing {text!r} names a step twice; name each once.")
    if "local_average" in names and "brightness" in names:
        raise UserError(
            f"The preprocessing {text!r} sets the brightness and then subtracts it; choose brightness or local_average."
        )
    return tuple(name for name in ENHANCEMENTS.names if name in names)


def chain_of(preprocessing: Mapping[str, Any]) -> EnhancementChain:
    """The chain in a manifest's `preprocessing` part; manifests of before there were any mean "none".

    Raises:
        UserError: it is not well-formed, or of a newer version.
    """
    content = preprocessing.get("enhancement") or {}
    try:
        mean = content.get("mean_rgb")
        chain = EnhancementChain(
            parse_chain(str(content.get("steps", NONE))), (int(mean[0]), int(mean[1]), int(mean[2])) if mean else None
        )
        is_known = int(content.get("version", VERSION)) <= VERSION
    except (AttributeError, TypeError, ValueError, IndexError):
        raise UserError("The preprocessing of this classifier cannot be read; export it again from its run.") from None
    if not is_known or (chain.needs_mean and chain.mean_rgb is None):
        raise UserError("The preprocessing of this classifier is incomplete or newer than this program; update it.")
    return chain


def fit_chain(text: str, pixels: np.ndarray, train_rows: np.ndarray) -> EnhancementChain:
    """A chain for a data set: its mean colour is that of (at most `MEAN_SAMPLE`) training images, in whole levels.

    Whole levels, so that folds whose means differ by less share one cache.
    """
    chain = EnhancementChain(parse_chain(text))
    if not chain.needs_mean:
        return chain
    rows = train_rows[np.linspace(0, len(train_rows) - 1, min(MEAN_SAMPLE, len(train_rows))).astype(int)]
    means = [field_mean(square) for row in rows for square in chain.framed(pixels[row : row + 1])]
    red, green, blue = np.mean(means, axis=0).round().astype(int).tolist()
    return EnhancementChain(chain.names, (red, green, blue))


_STUDY_1 = "study 1, VGG16 on diabetic retinopathy (2016)"
ENHANCEMENTS: Registry[Enhancement] = Registry("preprocessing")
for _step in (
    Enhancement(
        "retina_crop", "Crop to the retina",
        "Cuts the black surround away, where the edges of the retina are found along the centre lines.",
        _STUDY_1, crop_retina, moves=True, is_for_fundus=True,
    ),
    Enhancement(
        "aspect_crop", "Crop to 1.2 : 1",
        "Cuts top and bottom, where cameras cut the disc anyway, and stretches the rest to the network's square.",
        _STUDY_1, crop_aspect, moves=True, is_for_fundus=True,
    ),
    Enhancement(
        "brightness", "Even brightness",
        "Shifts each colour of an image to the mean colour of the training images, against cameras that differ.",
        _STUDY_1, set_brightness, needs_mean=True,
    ),
    Enhancement(
        "local_average", "Subtract local average",
        "Takes the blurred picture away and keeps fine detail: vessels and lesions on even grey.",
        "B. Graham, winning entry of the Kaggle diabetic retinopathy task (2015)", subtract_local_average,
        is_for_fundus=True,
    ),
    Enhancement(
        "clahe", "Local contrast (CLAHE)",
        "Evens out contrast in small tiles, with a limit (contrast limited adaptive histogram equalisation).",
        "Zuiderveld, Graphics Gems IV (1994); scikit-image", equalise,
    ),
):  # fmt: skip
    ENHANCEMENTS.add(_step)
