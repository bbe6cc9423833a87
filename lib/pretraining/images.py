"""The classes that the bundled backbone was trained to tell apart, and their images, rendered once into one file.

Drawing an image costs more than a training step on it; drawn again for every epoch it would take the cores from the
training. So several processes draw into a memory-mapped file.
"""

from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from lib.atomic import read_json, write_json
from lib.errors import UserError
from lib.pretraining import bodies, living, textures
from lib.pretraining.drawing import photographed
from lib.progress import Progress, ignore_progress
from lib.registry import Registry

PIXELS_FILE, DESCRIPTION_FILE, DONE_FOLDER = "pixels.u8", "store.json", "done"
Draw = Callable[[np.random.Generator, np.random.Generator, int], np.ndarray]


@dataclass(frozen=True)
class Family:
    """A kind of generated image; its classes differ in the parameters that `draw` takes from the class's generator."""

    name: str
    title: str
    num_classes: int
    draw: Draw


FAMILIES: Registry[Family] = Registry("family of generated images")
for _family in (
    Family("gratings", "Gratings", 40, textures.grating),
    Family("noise", "Noise by its spectrum", 44, textures.noise),
    Family("cells", "Cells", 32, textures.cells),
    Family("dots", "Dots", 28, textures.dots),
    Family("strokes", "Strokes and fur", 32, textures.strokes),
    Family("dead_leaves", "Dead leaves", 32, textures.dead_leaves),
    Family("shapes", "Shapes", 64, bodies.shape),
    Family("creatures", "Creatures", 72, bodies.creature),
    Family("trees", "Branching trees", 32, bodies.tree),
    Family("fractals", "Fractals", 88, bodies.fractal),
    Family("coordinate_programs", "Coordinate programs", 112, textures.coordinate_program),
    Family("filter_cascades", "Filter cascades", 64, textures.filter_cascade),
    Family("insects", "Insects", 72, living.insect),
    Family("flowers", "Flowers", 48, living.flower),
    Family("foliage", "Foliage", 32, living.foliage),
    Family("coloured_scenes", "Scenes by their colours", 40, living.coloured_scene),
):
    FAMILIES.add(_family)

# The classes of those before the living ones differ in form alone, the colours are drawn for each image.
NUM_FAMILIES_OF_FORM = 12


def class_table(share: float = 1.0) -> list[tuple[str, int]]:
    """(family, number within the family) of every class, in order; `share` below 1 keeps that part of each family."""
    return [
        (name, number)
        for name in FAMILIES.names
        for number in range(max(2, round(FAMILIES.get(name).num_classes * share)))
    ]


def draw_image(family: str, number: int, index: int, *, side: int, seed: int = 0) -> np.ndarray:
    """Image `index` of a class as uint8 (side, side, 3); the same arguments give the same pixels."""
    spec = FAMILIES.get(family)
    position = FAMILIES.names.index(family)
    kind = np.random.default_rng([seed, position, number])
    rng = np.random.default_rng([seed, position, number, index + 1])
    return photographed(spec.draw(kind, rng, side), rng)


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
    described = folder / DESCRIPTION_FILE
    if described.is_file() and read_json(described) != asdict(spec):
        raise UserError(
            f"{folder} holds images of another description ({read_json(described)}); choose another folder."
        )
    write_json(described, asdict(spec))
    path, size = folder / PIXELS_FILE, int(np.prod(spec.shape))
    if not path.is_file() or path.stat().st_size != size:
        with path.open("ab") as opened:
            opened.truncate(size)
    missing = [c for c in range(len(spec.classes)) if not (folder / DONE_FOLDER / str(c)).is_file()]
    done = len(spec.classes) - len(missing)
    # Spawned: a fork of a process that holds torch's threads may hang. A single one is this process.
    spawn = get_context("spawn")
    pool: Executor = ThreadPoolExecutor(1) if num_processes == 1 else ProcessPoolExecutor(num_processes, spawn)
    with pool:
        jobs = [pool.submit(_render_class, folder, spec, target) for target in missing]
        try:
            for count, job in enumerate(as_completed(jobs), start=1):
                job.result()
                progress(done + count, len(spec.classes), "rendering classes")
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return ImageStore(folder, spec)


def _render_class(folder: Path, spec: StoreSpec, target: int) -> None:
    family, number = spec.classes[target]
    store = np.memmap(folder / PIXELS_FILE, dtype=np.uint8, mode="r+", shape=spec.shape)
    first = target * spec.per_class
    for index in range(spec.per_class):
        store[first + index] = draw_image(family, number, index, side=spec.side_px, seed=spec.seed)
    store.flush()
    (folder / DONE_FOLDER / str(target)).touch()
