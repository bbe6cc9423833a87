"""A small set with known problems: training and test folders of two kinds of drawn pictures, spoiled on purpose."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter, ImageOps

SIDE = 160
WIDTH = 200
SWAPPED = ("train/rings/stripes_02.jpg", "train/stripes/rings_03.jpg")
# copy in test/ -> original in train/
COPIES = {
    "test/rings/exact.jpg": "train/rings/rings_05.jpg",
    "test/rings/encoded.jpg": "train/rings/rings_06.jpg",
    "test/stripes/resized.jpg": "train/stripes/stripes_07.jpg",
    "test/stripes/mirrored.jpg": "train/stripes/stripes_08.jpg",
}
CLASH = ("train/rings/also_rings.jpg", "train/stripes/stripes_09.jpg")
DARK, BLURRED, FLAT, LONG = (f"train/rings/rings_{number:02d}.jpg" for number in (10, 11, 12, 13))
BRIGHT = "train/stripes/stripes_14.jpg"
UNREADABLE = "train/rings/broken.jpg"


def picture(kind: str, seed: int) -> Image.Image:
    """Stripes or rings at any place on a ground of blobs, in grey that says nothing of the kind."""
    random = np.random.default_rng([seed, len(kind)])
    y, x = np.mgrid[:SIDE, :WIDTH].astype(float)
    if kind == "rings":
        phase = np.hypot(x - random.uniform(40, 160), y - random.uniform(40, 120))
    else:
        angle = random.uniform(0, np.pi)
        phase = x * np.cos(angle) + y * np.sin(angle)
    wave = np.sin(phase * random.uniform(0.25, 0.4) + random.uniform(0, 6))
    ground = np.zeros((SIDE, WIDTH, 3))
    for cells in (12, 40):
        blobs = Image.fromarray(random.integers(0, 256, (cells, cells * 5 // 4, 3), dtype=np.uint8))
        ground += np.asarray(blobs.resize((WIDTH, SIDE)), dtype=float)
    pixels = 0.35 * ground + 45 * wave[..., None] + random.normal(0, 8, (SIDE, WIDTH, 3))
    pixels = (pixels - pixels.mean((0, 1))) / pixels.std((0, 1)) * random.uniform(36, 46) + random.uniform(115, 145)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def write_planted(root: Path, *, per_class: int = 20, with_problems: bool = True) -> Path:
    """Write `per_class` training images and a third as many test images of each kind, with the problems or without."""
    for kind in ("rings", "stripes"):
        for number in range(per_class + per_class // 3):
            part = "train" if number < per_class else "test"
            save(picture(kind, number), root / part / kind / f"{kind}_{number:02d}.jpg")
    if not with_problems:
        return root
    for path in SWAPPED:
        kind = Path(path).stem.split("_")[0]
        (root / "train" / kind / Path(path).name).rename(root / path)
    for copy, original in COPIES.items():
        way, image = Path(copy).stem, Image.open(root / original)
        if way == "exact":
            (root / copy).write_bytes((root / original).read_bytes())
        elif way == "encoded":
            image.save(root / copy, quality=50)
        else:
            save(image.resize((120, 96)) if way == "resized" else ImageOps.mirror(image), root / copy)
    save(Image.open(root / CLASH[1]), root / CLASH[0], quality=70)
    spoil(root / DARK, lambda image: image.point(lambda value: value * 0.1))
    spoil(root / BLURRED, lambda image: image.filter(ImageFilter.GaussianBlur(6)), quality=97)
    spoil(root / FLAT, lambda image: image.point(lambda value: 120 + value * 0.05))
    spoil(root / LONG, lambda image: image.crop((0, 0, WIDTH, 50)))
    spoil(root / BRIGHT, lambda image: image.point(lambda value: 240 + value * 0.06))
    (root / UNREADABLE).write_bytes((root / DARK).read_bytes()[:200])
    return root


def spoil(path: Path, change, *, quality: int = 92) -> None:
    """Write an image anew as `change` makes it."""
    with Image.open(path) as image:
        image.load()
    save(change(image), path, quality=quality)


def save(image: Image.Image, path: Path, *, quality: int = 92) -> None:
    """Write a JPEG file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image.convert("RGB").save(path, quality=quality)
