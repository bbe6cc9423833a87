"""Renders the training images once, by several processes, into one memory-mapped file.

Drawing an image costs more than a training step on it; drawn again for every epoch it would take the cores from the
training.
"""

import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from lib.atomic import read_json, write_json
from lib.errors import UserError
from lib.pretraining.families import class_table, draw_image
from lib.progress import Progress, ignore_progress

_WHAT = "rendering classes"
PIXELS_FILE, DESCRIPTION_FILE, DONE_FOLDER = "pixels.u8", "store.json", "done"


@dataclass(frozen=True)
class StoreSpec:
    """What is rendered: all classes of the table (or that `class_share` of each family), so many images of each."""

    per_class: int = 160
    side_px: int = 112
    seed: int = 0
    class_share: float = 1.0

    @property
    def classes(self) -> list[tuple[str, int]]:
        """(family, number) of each class; its place is its target."""
        return class_table(self.class_share)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(N, S, S, 3); image i of class c is row c * per_class + i."""
        return len(self.classes) * self.per_class, self.side_px, self.side_px, 3


class ImageStore:
    """Rendered images, uint8 (N, S, S, 3) read-only, and their targets (N,)."""

    def __init__(self, folder: Path, spec: StoreSpec) -> None:
        self.spec = spec
        self.pixels = np.memmap(folder / PIXELS_FILE, dtype=np.uint8, mode="r", shape=spec.shape)
        self.targets = np.repeat(np.arange(len(spec.classes)), spec.per_class)


def render_store(
    folder: Path, spec: StoreSpec, *, num_processes: int | None = None, progress: Progress = ignore_progress
) -> ImageStore:
    """Render what is missing of a store; an interrupted one goes on where it was.

    Raises:
        UserError: the folder holds a store of another description.
    """
    (folder / DONE_FOLDER).mkdir(parents=True, exist_ok=True)
    _check_description(folder, spec)
    path, size = folder / PIXELS_FILE, int(np.prod(spec.shape))
    if not path.is_file() or path.stat().st_size != size:
        with path.open("ab") as opened:
            opened.truncate(size)
    missing = [c for c in range(len(spec.classes)) if not (folder / DONE_FOLDER / str(c)).is_file()]
    done = len(spec.classes) - len(missing)
    num_processes = num_processes or os.cpu_count() or 1
    if num_processes == 1:
        for target in missing:
            _render_class(folder, spec, target)
            done += 1
            progress(done, len(spec.classes), _WHAT)
    elif missing:
        # Spawned: a fork of a process that holds torch's threads may hang.
        with ProcessPoolExecutor(num_processes, mp_context=get_context("spawn")) as pool:
            jobs = [pool.submit(_render_class, folder, spec, target) for target in missing]
            _await(jobs, lambda count: progress(done + count, len(spec.classes), _WHAT), pool)
    return ImageStore(folder, spec)


def _await(jobs: list, tell: Callable[[int], None], pool: ProcessPoolExecutor) -> None:
    try:
        for count, job in enumerate(as_completed(jobs), start=1):
            job.result()
            tell(count)
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        raise


def _render_class(folder: Path, spec: StoreSpec, target: int) -> None:
    family, number = spec.classes[target]
    store = np.memmap(folder / PIXELS_FILE, dtype=np.uint8, mode="r+", shape=spec.shape)
    first = target * spec.per_class
    for index in range(spec.per_class):
        store[first + index] = draw_image(family, number, index, side=spec.side_px, seed=spec.seed)
    store.flush()
    (folder / DONE_FOLDER / str(target)).touch()


def _check_description(folder: Path, spec: StoreSpec) -> None:
    path = folder / DESCRIPTION_FILE
    wanted = asdict(spec)
    if path.is_file() and read_json(path) != wanted:
        raise UserError(f"{folder} holds images of another description ({read_json(path)}); choose another folder.")
    write_json(path, wanted)
