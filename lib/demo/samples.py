"""The images to try the grade page with: graded eyes, and what a grader must refuse or mark.

Which eyes is no matter of taste: `choose_seeds` takes the first drawn ones that the demo's best run answers as the page
has to show it. The same seeds make the same files.
"""

import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageFont

from lib.atomic import read_json
from lib.data.builtin import SAMPLES_FOLDER
from lib.data.fundus.photograph import draw_example
from lib.data.grades import GRADE_NAMES
from lib.demo.recording import FOLDER
from lib.errors import UserError
from lib.evaluation.verdict import UNGRADABLE, UNLIKE

if TYPE_CHECKING:
    from lib.grading.grader import Grader
    from lib.grading.grades import Grade

SEEDS_FILE = "samples.json"  # in the recording
SIZE_PX = 512
QUALITY = 88
_ORIENTATION = 0x0112
GRADES = ("no_dr", "mild", "moderate", "severe", "proliferative")
MOST_SEEDS = 160
NUM_PLAIN = 3
# Sure enough to be shown as plainly right, and not near the limit of likeness.
_PLAIN_CONFIDENCE, _PLAIN_DISTANCE = 0.6, 0.9
_LOOKED_FOR = (GRADES[0], GRADES[4], GRADES[3], GRADES[1], GRADES[2])
_TURNED_GRADE = 3
_UNGRADABLE, _RED_FREE, _TURNED = "ungradable", "red_free", "turned"
_DEFAULT_SEEDS = {**dict.fromkeys(GRADES, 0), _UNGRADABLE: 3, _RED_FREE: 4, _TURNED: 6}
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


def write_samples(folder: Path = SAMPLES_FOLDER, seeds: dict[str, int] | None = None) -> None:
    """Write all samples; what is there already is replaced. Without `seeds`, those that the recording chose."""
    seeds = seeds or recorded_seeds()
    folder.mkdir(parents=True, exist_ok=True)
    for grade, name in enumerate(GRADES):
        (folder / f"generated_{grade}_{name}.jpg").write_bytes(_eye(name, seeds[name]))
    for name in (_UNGRADABLE, _RED_FREE, _TURNED):
        (folder / f"generated_{name}.jpg").write_bytes(_eye(name, seeds[name]))
    _cat().save(folder / "other_cat_drawing.png", optimize=True)
    _text_page().save(folder / "other_text_page.png", optimize=True)
    _lens_cap().save(folder / "other_lens_cap.jpg", quality=QUALITY)
    # Cut off after a third, as an upload over a bad line ends.
    whole = _eye(GRADES[1], 5)
    (folder / "other_broken_file.jpg").write_bytes(whole[: len(whole) // 3])


def recorded_seeds() -> dict[str, int]:
    """The seeds that the recording chose; those of before where there is no recording."""
    path = FOLDER / SEEDS_FILE
    return dict(read_json(path)) if path.is_file() else dict(_DEFAULT_SEEDS)


def choose_seeds(grader: "Grader") -> dict[str, int]:
    """For each drawn sample the first seed whose image the grader answers as it should be shown.

    Three of the grades are plainly right: looked for are first both ends, then severe, mild and moderate. The next
    grade is doubtful: a close call that the right grade is part of. The last one is right, whatever its probability.
    The spoiled one is too poor to be graded, said to be dark or blurred; the one of green light
    alone is refused; the turned one is right.

    Raises:
        UserError: no such images among the first 160 seeds.
    """
    seeds: dict[str, int] = {}
    for name in _LOOKED_FOR:
        if len(seeds) < NUM_PLAIN and (seed := _first(grader, name, is_plainly_right)) is not None:
            seeds[name] = seed
    if len(seeds) < NUM_PLAIN:
        raise UserError(
            f"With this classifier only {len(seeds)} grades are plainly right among {MOST_SEEDS} drawn images of each; "
            f"the samples need {NUM_PLAIN}. Train it longer."
        )
    doubtful, last = (name for name in _LOOKED_FOR if name not in seeds)
    wanted: tuple[tuple[str, Callable[[Grade, int], bool]], ...] = (
        (doubtful, is_doubtful),
        (last, is_right),
        (_UNGRADABLE, lambda grade, _: is_refused_as_spoiled(grade)),
        (_RED_FREE, lambda grade, _: grade.status == UNLIKE),
        (_TURNED, is_right),
    )
    for name, is_as_wanted in wanted:
        found = _first(grader, name, is_as_wanted)
        if found is None:
            raise UserError(f"None of {MOST_SEEDS} drawn images does as the sample {name!r} with this classifier.")
        seeds[name] = found
    return seeds


def is_right(grade: "Grade", target: int) -> bool:
    """Whether an image was graded, and rightly."""
    return grade.is_graded and grade.class_name == GRADE_NAMES[target]


def is_plainly_right(grade: "Grade", target: int) -> bool:
    """Whether the right grade is given with confidence, to an image well within the limit of likeness."""
    is_near = grade.distance is not None and grade.distance < _PLAIN_DISTANCE * (grade.threshold or 0.0)
    return is_right(grade, target) and (grade.confidence or 0.0) >= _PLAIN_CONFIDENCE and is_near


def is_doubtful(grade: "Grade", target: int) -> bool:
    """Whether two grades are nearly as probable, of which one is right."""
    return grade.is_graded and grade.is_close_call and GRADE_NAMES[target] in (grade.class_name, grade.runner_up)


def is_refused_as_spoiled(grade: "Grade") -> bool:
    """Whether an image is too poor to be graded and said to be blurred or dark, here or beside the training images."""
    is_refused = grade.status in (UNGRADABLE, UNLIKE)
    return is_refused and any(word in grade.reason for word in ("darker", "dark:", "blurred", "Blurred"))


def _first(grader: "Grader", name: str, is_as_wanted: "Callable[[Grade, int], bool]") -> int | None:
    """The first seed of a sample whose answer is as wanted, drawn a few at a time; None if there is none."""
    target = GRADES.index(name) if name in GRADES else _TURNED_GRADE
    for start in range(0, MOST_SEEDS, 8):
        seeds = range(start, start + 8)
        grades = grader.grade([(f"{name}_{seed}", _eye(name, seed)) for seed in seeds])
        for seed, grade in zip(seeds, grades, strict=True):
            if is_as_wanted(grade, target):
                return seed
    return None


def _eye(name: str, seed: int) -> bytes:
    """A drawn sample as its file."""
    if name == _TURNED:  # the camera was held upright: the pixels lie on their side and the file says so
        exif = Image.Exif()
        exif[_ORIENTATION] = 6
        return _jpeg(_fundus(_TURNED_GRADE, seed=seed).rotate(90, expand=True), exif=exif)
    if name == _UNGRADABLE:  # blurred by a moving eye and far too dark
        blurred = _fundus(2, seed=seed, is_ungradable=True).filter(ImageFilter.GaussianBlur(8))
        return _jpeg(ImageEnhance.Brightness(blurred).enhance(0.4))
    if name == _RED_FREE:  # the green channel alone, as some cameras photograph: unlike colour photographs
        green = _fundus(2, seed=seed).getchannel("G")
        return _jpeg(Image.merge("RGB", (green, green, green)))
    return _jpeg(_fundus(GRADES.index(name), seed=seed))


def _fundus(grade: int, *, seed: int, is_ungradable: bool = False) -> Image.Image:
    return Image.fromarray(draw_example(grade, size_px=SIZE_PX, seed=seed, is_ungradable=is_ungradable).pixels)


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


def _jpeg(image: Image.Image, **options: Any) -> bytes:
    opened = io.BytesIO()
    image.save(opened, "JPEG", quality=QUALITY, **options)
    return opened.getvalue()
