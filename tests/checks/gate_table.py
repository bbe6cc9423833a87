"""Which images the domain gate of runs turns away: `python -m tests.checks.gate_table RUN ... --folder NAME=PATH ...`.

For each run the share of its own test images that are beyond a limit (false alarms; without what the data set flags as
ungradable), and the share that is not graded of drawn text, noise, plain colours, diagrams and coloured discs, of at
most `--most` images of each folder, and of scikit-image's photograph of a retina. "(gate N)" counts what the domain
gate itself turned away; blank images are refused before it, spoiled ones after it.
"""

import argparse
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw, ImageFont

from lib.data.dataset import can_be_graded
from lib.data.library import open_dataset
from lib.evaluation.verdict import GRADED, UNLIKE, UNSURE
from lib.grading.grader import Grader
from lib.tracking import get_run
from lib.tracking.state import PREDICTIONS_FILE
from lib.training.results import TEST

SIDE_PX = 384
NUM_DRAWN = 24
Files = list[tuple[str, bytes]]


def text(random: np.random.Generator) -> Image.Image:
    """Lines of letters, dark on white or white on black."""
    ground, ink = ("white", "black") if random.random() < 0.5 else ("black", "white")
    image = Image.new("RGB", (SIDE_PX, SIDE_PX), ground)
    pen = ImageDraw.Draw(image)
    for y in range(10, SIDE_PX - 20, 22):
        letters = "".join(random.choice(list("abcdefgh ijkl mnop"), 40))
        pen.text((10, y), letters, fill=ink, font=ImageFont.load_default(14))
    return image


def noise(random: np.random.Generator) -> Image.Image:
    """Even or normal noise."""
    shape = (SIDE_PX, SIDE_PX, 3)
    drawn = random.integers(0, 256, shape) if random.random() < 0.5 else random.normal(120, 30, shape).clip(0, 255)
    return Image.fromarray(drawn.astype(np.uint8))


def colour(random: np.random.Generator) -> tuple[int, int, int]:
    """Any."""
    red, green, blue = (int(one) for one in random.integers(0, 256, 3))
    return red, green, blue


def plain(random: np.random.Generator) -> Image.Image:
    """One colour."""
    return Image.new("RGB", (SIDE_PX, SIDE_PX), colour(random))


def diagram(random: np.random.Generator) -> Image.Image:
    """Boxes, circles and lines."""
    image = Image.new("RGB", (SIDE_PX, SIDE_PX), (245, 245, 240) if random.random() < 0.7 else "black")
    pen = ImageDraw.Draw(image)
    for _ in range(6):
        x, y, wide, high, to_x, to_y = (int(one) for one in random.integers(20, 260, 6))
        (pen.rectangle if random.random() < 0.5 else pen.ellipse)((x, y, x + wide, y + high), fill=colour(random))
        pen.line((x, y, to_x, to_y), fill=colour(random), width=3)
    return image


def disc(random: np.random.Generator) -> Image.Image:
    """A disc of one colour on black, as a fundus photograph lies on it."""
    image = Image.new("RGB", (SIDE_PX, SIDE_PX), "black")
    ImageDraw.Draw(image).ellipse((8, 8, SIDE_PX - 8, SIDE_PX - 8), fill=colour(random))
    return image


DRAWN: dict[str, Callable[[np.random.Generator], Image.Image]] = {
    "text": text, "noise": noise, "plain colour": plain, "diagrams": diagram, "coloured discs": disc,
}  # fmt: skip


def encoded(image: Image.Image) -> bytes:
    """As PNG."""
    opened = io.BytesIO()
    image.save(opened, "PNG")
    return opened.getvalue()


def drawn_files(name: str) -> Files:
    """The same ones each time."""
    random = np.random.default_rng(sum(name.encode()))
    return [(f"{name} {number}", encoded(DRAWN[name](random))) for number in range(NUM_DRAWN)]


def folder_files(folder: Path, most: int) -> Files:
    """At most so many images of a folder, evenly over all of them, without masks."""
    kinds = (".jpg", ".jpeg", ".png")
    paths = sorted(one for one in folder.rglob("*") if one.suffix.lower() in kinds and "masks" not in one.parts)
    places = np.unique(np.linspace(0, len(paths) - 1, min(most, len(paths))).round().astype(int))
    return [(str(paths[place]), paths[place].read_bytes()) for place in places]


def false_alarms(grader: Grader, run_id: str) -> tuple[int, int]:
    """How many of a run's own gradable test images are beyond a limit, of how many; these set no limit."""
    table = pd.read_parquet(get_run(run_id).folder / PREDICTIONS_FILE)
    about = grader.manifest["dataset"]
    dataset = open_dataset(about["name"], version=about["version"])
    rows = np.sort(dataset.indices(list(table.loc[table["split"] == TEST, "image_id"])))
    rows = rows[can_be_graded(dataset)[rows]]
    limit, found = grader.gate.threshold if grader.gate else np.inf, 0
    for start in range(0, len(rows), 16):
        distances = grader.scores(np.stack([np.asarray(dataset.pixels[row]) for row in rows[start : start + 16]]))[1]
        found += sum(one is not None and one > limit for one in distances)
    return found, len(rows)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", metavar="RUN")
    parser.add_argument("--folder", action="append", default=[], metavar="NAME=PATH")
    parser.add_argument("--most", type=int, default=100)
    options = parser.parse_args()
    from skimage import data

    sets = {name: drawn_files(name) for name in DRAWN}
    for one in options.folder:
        name, _, path = one.partition("=")
        sets[name] = folder_files(Path(path), options.most)
    sets["retina.jpg"] = [("retina.jpg", encoded(Image.fromarray(data.retina())))]
    for run_id in options.runs:
        grader = Grader.open(run_id, device="cpu")
        manifest = grader.manifest
        print(f"\n{run_id}: {manifest['backbone']}, {manifest['strategy']}, {manifest['dataset']['name']}")
        found, num = false_alarms(grader, run_id)
        print(f"  own test images: false alarms {found} of {num}", flush=True)
        for name, files in sets.items():
            grades = list(grader.grade(files))
            away = sum(one.status not in (GRADED, UNSURE) for one in grades)
            gated = sum(one.status == UNLIKE for one in grades)
            print(f"  {name}: not graded {away} of {len(grades)} (gate {gated})", flush=True)
        print(f"  retina.jpg: {grades[0].status}, {grades[0].class_name}: {grades[0].reason}")
        print(
            "   ", ", ".join(f"{one.title} {one.value:.3f} / {one.limit:.3f}" for one in grades[0].domain), flush=True
        )


if __name__ == "__main__":
    main()
