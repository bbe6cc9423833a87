"""Images to try things on: those that come with the program, and real photographs that scikit-image comes with."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from lib.settings import PROJECT_ROOT

SAMPLES_FOLDER = PROJECT_ROOT / "data" / "samples"
# What a network that has seen photographs of things is shown first.
CAT = "chelsea.png"
# File, what it shows, who made it under which licence (as skimage.data says of each).
_PHOTOGRAPHS = (
    (CAT, "Cat", "Stefan van der Walt, CC0"),
    ("coffee.png", "Cup of coffee", "Rachel Michetti, CC0"),
    ("astronaut.png", "Astronaut", "NASA, public domain"),
    ("rocket.jpg", "Rocket", "SpaceX, public domain"),
    ("retina.jpg", "Fundus of a normal left eye", "Mikael Häggström, CC0"),
    ("microaneurysms.png", "Microaneurysms, a detail", "Andreas Maier, CC0"),
    ("brick.png", "Brick wall", "CC0Textures, CC0"),
    ("grass.png", "Grass", "linolafett, CC0"),
    ("gravel.png", "Gravel", "CC0Textures, CC0"),
)


@dataclass(frozen=True)
class Sample:
    """One image: `name` is its file's, by which links know it; `credit` says whose it is, empty where it was drawn."""

    name: str
    path: Path
    title: str
    credit: str = ""

    @property
    def label(self) -> str:
        """What it shows, and for a photograph whose it is under which licence."""
        return f"{self.title} ({self.credit})" if self.credit else self.title


def photographs() -> list[Sample]:
    """The real photographs at hand; found without importing scikit-image, empty where its files were left out."""
    found = importlib.util.find_spec("skimage")
    folders = [Path(root) / "data" for root in (found.submodule_search_locations or ())] if found else []
    return [
        Sample(name, folder / name, title, credit)
        for folder in folders[:1]
        for name, title, credit in _PHOTOGRAPHS
        if (folder / name).is_file()
    ]


def drawn_samples() -> list[Sample]:
    """The files that come with the program: generated eyes, and what a grader must refuse."""
    paths = sorted(path for path in SAMPLES_FOLDER.glob("*") if path.is_file())
    return [Sample(path.name, path, path.name) for path in paths]
