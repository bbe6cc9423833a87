"""Draws `data/samples/`, the images to try the grade page with: `python -m tests.make_samples`.

The same code makes the same files: graded fundus images, and what a grader must refuse or mark.
"""

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageFont

from lib.data.fundus.photograph import draw_example
from lib.settings import PROJECT_ROOT

SAMPLES_FOLDER = PROJECT_ROOT / "data" / "samples"
SIZE_PX = 512
QUALITY = 88
_ORIENTATION = 0x0112
GRADES = ("no_dr", "mild", "moderate", "severe", "proliferative")
_TEXT = (
    "Appointment letter",
    "",
    "Please bring this page with you. The photographs of your eyes take",
    "ten minutes; the drops widen the pupil for some hours, so do not",
    "drive afterwards. If you wear contact lenses, take them out first.",
    "",
    "This page is text. A grader of fundus photographs should say that it",
    "has never seen anything like it, and give no grade.",
)


def main(folder: Path = SAMPLES_FOLDER) -> None:
    """Write all samples; what is there already is replaced."""
    folder.mkdir(parents=True, exist_ok=True)
    for grade, name in enumerate(GRADES):
        _fundus(grade).save(folder / f"generated_{grade}_{name}.jpg", quality=QUALITY)
    _ungradable().save(folder / "generated_ungradable.jpg", quality=QUALITY)
    _red_free().save(folder / "generated_red_free.jpg", quality=QUALITY)
    _write_turned(folder / "generated_turned.jpg")
    _cat().save(folder / "other_cat_drawing.png", optimize=True)
    _text_page().save(folder / "other_text_page.png", optimize=True)
    _lens_cap().save(folder / "other_lens_cap.jpg", quality=QUALITY)
    # Cut off after a third, as an upload over a bad line ends.
    whole = _jpeg(_fundus(1, seed=5))
    (folder / "other_broken_file.jpg").write_bytes(whole[: len(whole) // 3])


def _fundus(grade: int, *, seed: int = 0, is_ungradable: bool = False) -> Image.Image:
    return Image.fromarray(draw_example(grade, size_px=SIZE_PX, seed=seed, is_ungradable=is_ungradable).pixels)


def _ungradable() -> Image.Image:
    """Blurred by a moving eye and far too dark."""
    blurred = _fundus(2, seed=3, is_ungradable=True).filter(ImageFilter.GaussianBlur(8))
    return ImageEnhance.Brightness(blurred).enhance(0.4)


def _red_free() -> Image.Image:
    """The green channel alone, as some cameras photograph: a fundus, but unlike colour photographs."""
    green = _fundus(2, seed=4).getchannel("G")
    return Image.merge("RGB", (green, green, green))


def _write_turned(path: Path) -> None:
    """Taken with the camera held upright: the pixels lie on their side and the file says so (EXIF orientation 6)."""
    exif = Image.Exif()
    exif[_ORIENTATION] = 6
    _fundus(3, seed=6).rotate(90).save(path, quality=QUALITY, exif=exif)


def _cat() -> Image.Image:
    canvas = Image.new("RGB", (400, 400), "#F4EFE6")
    pen = ImageDraw.Draw(canvas)
    ink, fur = "#3B3A39", "#D98B45"
    for ear in ((90, 170, 110, 60, 180, 120), (310, 170, 290, 60, 220, 120)):
        pen.polygon(ear, fill=fur, outline=ink, width=4)
    pen.ellipse((80, 90, 320, 320), fill=fur, outline=ink, width=4)
    for x in (150, 250):
        pen.ellipse((x - 24, 165, x + 24, 213), fill="#DFF0C8", outline=ink, width=3)
        pen.ellipse((x - 7, 168, x + 7, 210), fill=ink)
    pen.polygon((188, 236, 212, 236, 200, 252), fill="#C4576B", outline=ink)
    pen.arc((170, 240, 200, 278), 0, 160, fill=ink, width=4)
    pen.arc((200, 240, 230, 278), 20, 180, fill=ink, width=4)
    for height in (-12, 0, 12):
        pen.line((60, 250 + height, 150, 256), fill=ink, width=2)
        pen.line((340, 250 + height, 250, 256), fill=ink, width=2)
    return canvas


def _text_page() -> Image.Image:
    page = Image.new("RGB", (620, 480), "white")
    pen = ImageDraw.Draw(page)
    for row, line in enumerate(_TEXT):
        size_px = 30 if row == 0 else 18
        pen.text((40, 40 + 36 * row), line, fill="#222222", font=ImageFont.load_default(size_px))
    return page


def _lens_cap() -> Image.Image:
    """A photograph with the cap on: noise of the sensor and nothing else."""
    noise = np.random.default_rng(7).normal(6, 2, (384, 384, 3))
    return Image.fromarray(noise.clip(0, 255).astype(np.uint8))


def _jpeg(image: Image.Image) -> bytes:
    opened = io.BytesIO()
    image.save(opened, "JPEG", quality=QUALITY)
    return opened.getvalue()


if __name__ == "__main__":
    main()
