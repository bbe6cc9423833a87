"""Small image folders for the tests of data."""

import io
from pathlib import Path

import numpy as np
from PIL import Image


def picture(seed: int, *, width: int = 32, height: int = 32) -> Image.Image:
    """A small image that no other seed gives."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def encoded(image: Image.Image, image_format: str = "PNG", **options) -> bytes:
    """The bytes of an image file."""
    written = io.BytesIO()
    image.save(written, image_format, **options)
    return written.getvalue()


def write_classes(root: Path, counts: dict[str, int], *, first_seed: int = 0) -> Path:
    """Write that many PNG images into each sub-folder; all differ."""
    seed = first_seed
    for name, count in counts.items():
        (root / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            seed += 1
            picture(seed).save(root / name / f"{number}.png")
    return root
