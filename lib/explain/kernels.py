"""What a convolution is before any network: a bench of 3 x 3 kernels, and one window after the other by hand."""

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from lib.errors import UserError
from lib.explain.pictures import PixelArray, luma

FloatArray = np.ndarray[Any, np.dtype[np.float64]]
_LARGEST = 1e6  # of a weight that a person types


@dataclass(frozen=True)
class Kernel:
    """A 3 x 3 kernel; `weights` row by row."""

    name: str
    title: str
    weights: tuple[float, ...]
    about: str = ""

    @cached_property
    def matrix(self) -> FloatArray:
        """The weights (3, 3)."""
        return np.array(self.weights, dtype=np.float64).reshape(3, 3)

    @property
    def is_signed(self) -> bool:
        """Whether its answer lies around zero (its weights cancel out) and not around the image's own brightness."""
        return abs(sum(self.weights)) < 1e-9

    @property
    def text(self) -> str:
        """The nine weights as `parse_kernel` reads them."""
        return " ".join(f"{weight:g}" for weight in self.weights)


_NINTH = 1 / 9
_EDGE = "Answers to edges that are lighter {}."
KERNELS = {
    kernel.name: kernel
    for kernel in (
        Kernel("blur", "Blur", (_NINTH,) * 9, "Each place becomes the mean of itself and its neighbours."),
        Kernel("sharpen", "Sharpen", (0, -1, 0, -1, 5, -1, 0, -1, 0), "What differs from its neighbours differs more."),
        Kernel("sobel_top", "Sobel, top", (1, 2, 1, 0, 0, 0, -1, -2, -1), _EDGE.format("above")),
        Kernel("sobel_bottom", "Sobel, bottom", (-1, -2, -1, 0, 0, 0, 1, 2, 1), _EDGE.format("below")),
        Kernel("sobel_left", "Sobel, left", (1, 0, -1, 2, 0, -2, 1, 0, -1), _EDGE.format("on the left")),
        Kernel("sobel_right", "Sobel, right", (-1, 0, 1, -2, 0, 2, -1, 0, 1), _EDGE.format("on the right")),
        Kernel("emboss", "Emboss", (-2, -1, 0, -1, 1, 1, 0, 1, 2), "As if light fell on it from one corner."),
        Kernel("outline", "Outline", (-1, -1, -1, -1, 8, -1, -1, -1, -1), "Answers to every edge, not to even areas."),
    )
}


def parse_kernel(text: str) -> Kernel:
    """A kernel of the bench by its name, or one of nine numbers row by row, apart by blanks, commas or semicolons.

    Raises:
        UserError: neither a name nor nine numbers.
    """
    if text in KERNELS:
        return KERNELS[text]
    parts = [part for part in re.split(r"[\s,;]+", text.strip()) if part]
    try:
        weights = tuple(float(part) for part in parts)
    except ValueError:
        weights = ()
    if len(weights) != 9 or not all(abs(weight) <= _LARGEST for weight in weights):
        raise UserError(
            f"A kernel is nine numbers, row by row, such as '0 -1 0 -1 5 -1 0 -1 0', or one of {', '.join(KERNELS)}; "
            f"received {text[:60]!r}."
        )
    return Kernel("own", "Own kernel", weights)


def grey(pixels: PixelArray) -> FloatArray:
    """The brightness (H, W) in 0..1 of a picture (H, W, 3)."""
    return np.asarray(luma(pixels) / 255.0, dtype=np.float64)


def filter_image(image: FloatArray, kernel: Kernel) -> FloatArray:
    """The answer of the kernel at every place of (H, W), of the same size; the border repeats its last pixel.

    As networks compute it: the kernel is laid on as it is, not mirrored (a cross-correlation).
    """
    from scipy.ndimage import correlate

    return np.asarray(correlate(image, kernel.matrix, mode="nearest"))


@dataclass(frozen=True, eq=False)
class PatchSteps:
    """A patch (n, n) under a kernel, window by window without border, then ReLU, then the largest of each 2 x 2."""

    patch: FloatArray
    kernel: Kernel

    @property
    def side(self) -> int:
        """The number of windows in a row: n - 2."""
        return len(self.patch) - 2

    @cached_property
    def convolved(self) -> FloatArray:
        """All answers (n - 2, n - 2)."""
        windows = np.lib.stride_tricks.sliding_window_view(self.patch, (3, 3))
        return np.einsum("ijkl,kl->ij", windows, self.kernel.matrix)

    @cached_property
    def rectified(self) -> FloatArray:
        """After ReLU: what is below zero becomes zero."""
        return np.maximum(self.convolved, 0.0)

    @cached_property
    def pooled(self) -> FloatArray:
        """The largest of each 2 x 2 of the rectified answers; an odd last row or column is left out."""
        half = self.side // 2
        return self.rectified[: 2 * half, : 2 * half].reshape(half, 2, half, 2).max(axis=(1, 3))

    def window(self, step: int) -> tuple[int, int, FloatArray]:
        """Row and column of the window of a step (0 is the first), and its nine products (3, 3)."""
        row, column = divmod(step, self.side)
        return row, column, self.patch[row : row + 3, column : column + 3] * self.kernel.matrix


def busiest_patch(image: FloatArray, side: int) -> tuple[int, int]:
    """Row and column of the square of that side where (H, W) varies most: a patch in which something is to be seen."""
    windows = np.lib.stride_tricks.sliding_window_view(image, (side, side))
    row, column = np.unravel_index(int(windows.std(axis=(2, 3)).argmax()), windows.shape[:2])
    return int(row), int(column)
