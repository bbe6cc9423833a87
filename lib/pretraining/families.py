"""The classes that the bundled backbone was trained to tell apart: families of image programs and how many of each."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lib.pretraining import bodies, insects, plants, programs, textures
from lib.pretraining.canvas import photographed
from lib.registry import Registry

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
    Family("coordinate_programs", "Coordinate programs", 112, programs.coordinate_program),
    Family("filter_cascades", "Filter cascades", 64, programs.filter_cascade),
    Family("insects", "Insects", 72, insects.insect),
    Family("flowers", "Flowers", 48, plants.flower),
    Family("foliage", "Foliage", 32, plants.foliage),
    Family("coloured_scenes", "Scenes by their colours", 40, plants.coloured_scene),
):
    FAMILIES.add(_family)

# The families above the living ones: their classes differ in form alone, the colours are drawn for each image.
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
