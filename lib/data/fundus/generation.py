"""Writes a folder of generated photographs: class folders, masks and `metadata.csv`; drawn by child processes.

The children are started as `python -m lib.data.fundus.generation` and answer one line an image: no fork of a process
that has threads, and nothing is kept in memory but the image at hand.
"""

import itertools
import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from PIL import Image

from lib.csv_text import csv_of_rows
from lib.data.fundus.drawing import component_rng
from lib.data.fundus.photograph import DEFAULT_UNGRADABLE_SHARE, UNGRADABLE_KINDS, FundusCase, draw_photograph
from lib.errors import UserError
from lib.progress import Progress, ignore_progress
from lib.runtime import available_cores
from lib.settings import PROJECT_ROOT

CLASS_FOLDERS = ("0_no_dr", "1_mild", "2_moderate", "3_severe", "4_proliferative")
MASKS_FOLDER = "masks"
_IMAGES_WORTH_A_CHILD = 60  # a child takes about a second to start, as long as ten images
_WHAT = "drawing fundus photographs"
_COLUMNS = ("path", "patient", "laterality", "mask_path", "flags")


@dataclass(frozen=True)
class PlannedFile:
    """A case, where its files go, relative to the folder, and what spoils the picture (empty for nothing)."""

    case: FundusCase
    path: str
    ungradable: str = ""

    @property
    def mask_path(self) -> str:
        """The mask's file: PNG, as large as the image."""
        return f"{MASKS_FOLDER}/{Path(self.path).with_suffix('.png')}"


@dataclass(frozen=True)
class Spoiling:
    """Which share of the images cannot be graded (0 to 1), and the kinds of faults, equally often."""

    share: float = DEFAULT_UNGRADABLE_SHARE
    kinds: tuple[str, ...] = UNGRADABLE_KINDS

    def __post_init__(self) -> None:
        """Raise UserError for a share or kind that cannot be."""
        if not 0 <= self.share <= 1:
            raise UserError(f"The share of ungradable images must be 0 to 1, not {self.share:g}.")
        unknown = [kind for kind in self.kinds if kind not in UNGRADABLE_KINDS]
        if unknown or not self.kinds:
            raise UserError(
                f"The kinds of ungradable images are {', '.join(UNGRADABLE_KINDS)}, "
                f"not {', '.join(unknown) or 'none'}. For no such images set the share to 0."
            )

    def choose(self, num_images: int, seed: int) -> list[str]:
        """What spoils each image, empty for most: exactly the share, each kind as often as the others."""
        faults = [""] * num_images
        order = component_rng(seed, 0, 0, "ungradable").permutation(num_images)
        for number, index in enumerate(order[: round(self.share * num_images)]):
            faults[index] = self.kinds[number % len(self.kinds)]
        return faults


def plan_files(*, per_class: int, seed: int, spoiling: Spoiling | None = None) -> list[PlannedFile]:
    """List `per_class` images a grade; two eyes belong to a patient, and of some patients they differ by one grade."""
    spoiling = spoiling or Spoiling()
    pairs = [[[grade, grade] for _ in range((per_class + 1) // 2)] for grade in range(len(CLASS_FOLDERS))]
    num_mixed = per_class // 20  # at each border between grades; one patient in six of a large set
    for lower, upper in itertools.pairwise(pairs):
        for number in range(num_mixed):
            lower[number][1], upper[-2 - number][1] = upper[-2 - number][1], lower[number][1]
    patients = [pair for of_grade in pairs for pair in of_grade]
    # Shuffled numbers: neither a patient's number nor the order of drawing tells the grade.
    numbers = component_rng(seed, 0, 0, "patient numbers").permutation(len(patients))
    counts = [0] * len(CLASS_FOLDERS)
    files = []
    for number, pair in zip(numbers, patients, strict=True):
        for is_right, grade in enumerate(pair):
            if counts[grade] < per_class:
                counts[grade] += 1
                case = FundusCase(seed, int(number), bool(is_right), grade)
                files.append(PlannedFile(case, f"{CLASS_FOLDERS[grade]}/p{number:05d}_{case.laterality}.jpg"))
    faults = spoiling.choose(len(files), seed)
    return [replace(file, ungradable=fault) for file, fault in zip(files, faults, strict=True)]


def generate(
    folder: Path,
    *,
    per_class: int,
    size_px: int,
    seed: int = 0,
    with_lesions: bool = True,
    spoiling: Spoiling | None = None,
    num_children: int | None = None,
    progress: Progress = ignore_progress,
) -> None:
    """Write `per_class` images a grade below one sub-folder a grade, their masks below `masks/`, and `metadata.csv`.

    The table has the columns path, patient, laterality, mask_path and flags. The same arguments give the same pixels,
    however many child processes draw (by default one a core, none for few images). Without lesions all images are
    drawn as their twins. `spoiling` says how many images cannot be graded and why (by default 4 in 100); the others do
    not depend on it. Another seed gives other eyes throughout.
    """
    spoiling = spoiling or Spoiling()
    files = plan_files(per_class=per_class, seed=seed, spoiling=spoiling)
    for class_folder in CLASS_FOLDERS:
        (folder / class_folder).mkdir(parents=True, exist_ok=True)
        (folder / MASKS_FOLDER / class_folder).mkdir(parents=True, exist_ok=True)
    if num_children is None:
        num_children = min(available_cores(), 8, len(files) // _IMAGES_WORTH_A_CHILD)
    if num_children < 1:
        flags = []
        for done, file in enumerate(files, start=1):
            flags.append(write_photograph(folder, file, size_px=size_px, with_lesions=with_lesions))
            progress(done, len(files), _WHAT)
    else:
        asked = {
            "folder": str(folder), "per_class": per_class, "size_px": size_px, "seed": seed,
            "with_lesions": with_lesions, "spoiling": (spoiling.share, spoiling.kinds),
        }  # fmt: skip
        flags = _draw_in_children(json.dumps(asked), num_children, len(files), progress)
    rows = (
        (file.path, f"p{file.case.patient:05d}", file.case.laterality, file.mask_path, flag)
        for file, flag in zip(files, flags, strict=True)
    )
    (folder / "metadata.csv").write_text(csv_of_rows(_COLUMNS, rows), encoding="utf-8", newline="")


def write_photograph(folder: Path, file: PlannedFile, *, size_px: int, with_lesions: bool) -> str:
    """Draw one case and write image and mask; returns its flags."""
    photograph = draw_photograph(file.case, size_px=size_px, with_lesions=with_lesions, ungradable=file.ungradable)
    Image.fromarray(photograph.pixels).save(folder / file.path, quality=photograph.jpeg_quality)
    Image.fromarray(photograph.mask).save(folder / file.mask_path, compress_level=3)
    return f"ungradable: {photograph.ungradable}" if photograph.ungradable else ""


def _draw_in_children(asked: str, num_children: int, num_files: int, progress: Progress) -> list[str]:
    """Let child i draw every n-th image from the i-th; ends them all if `progress` raises."""
    flags: dict[int, str] = {}

    def listen(child: "subprocess.Popen[str]") -> None:
        for line in child.stdout or ():
            index, _, text = line.rstrip("\n").partition(" ")
            flags[int(index)] = text

    children, listeners = [], []
    try:
        for share in range(num_children):
            command = [sys.executable, "-m", "lib.data.fundus.generation", asked, str(share), str(num_children)]
            child = subprocess.Popen(
                command, cwd=PROJECT_ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
                env=os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            )  # fmt: skip
            children.append(child)
            listeners.append(threading.Thread(target=listen, args=(child,), daemon=True))
            listeners[-1].start()
        while running := [listener for listener in listeners if listener.is_alive()]:
            progress(len(flags), num_files, _WHAT)
            running[0].join(0.2)
    finally:
        for child in children:
            with suppress(OSError):
                child.kill()
            child.wait()
    progress(len(flags), num_files, _WHAT)
    if len(flags) < num_files:
        raise RuntimeError(f"Only {len(flags)} of {num_files} photographs were drawn: a child process ended early.")
    return [flags[index] for index in range(num_files)]


def main(asked: dict[str, Any], share: int, num_shares: int) -> None:
    """Draw a child's share of a set, and print one line, index and flags, for each image."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    spoiled, kinds = asked["spoiling"]
    files = plan_files(per_class=asked["per_class"], seed=asked["seed"], spoiling=Spoiling(spoiled, tuple(kinds)))
    drawing = {key: asked[key] for key in ("size_px", "with_lesions")}
    for index in range(share, len(files), num_shares):
        flags = write_photograph(Path(asked["folder"]), files[index], **drawing)
        try:
            sys.stdout.write(f"{index} {flags}\n")
            sys.stdout.flush()
        except BrokenPipeError:  # the parent is gone
            os._exit(1)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
