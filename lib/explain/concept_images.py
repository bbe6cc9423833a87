"""Images that show a concept: folders that a person gives, textures of scikit-image, lesions that masks mark."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from lib.data.dataset import takes_part
from lib.data.images import DecodedImage
from lib.data.input_transform import InputTransform
from lib.data.sources.files import existing_folder, has_image_suffix
from lib.errors import UserError

LESIONS, TEXTURES = "lesions", "textures"
TEXTURE_NAMES = ("brick", "grass", "gravel")
MIN_IMAGES, MAX_IMAGES = 10, 40
_NUM_CROPS, _POOL = 24, 320
_LEAST_PX = 128  # a smaller piece of a picture of 512 px shows a stone rather than gravel


@dataclass(frozen=True)
class ConceptImages:
    """Numbers of the images in a pool that show a concept, and of those that its counterparts are drawn from."""

    name: str
    shown: tuple[int, ...]
    others: tuple[int, ...]
    counterpart: str  # what the others are, in words


@dataclass(frozen=True, eq=False)
class ConceptSource:
    """Concepts that can be tested, as numbers of squares (S, S, 3) in a pool, and why others cannot be.

    `randoms` are those that random directions are drawn from, whatever they show.
    """

    pool: Sequence[np.ndarray]
    concepts: tuple[ConceptImages, ...]
    randoms: tuple[int, ...]
    notes: tuple[str, ...] = ()


def concept_source(asked: str, dataset: Any, inputs: InputTransform, *, seed: int = 0) -> ConceptSource:
    """The concepts that are asked for: "lesions" of the data set's masks, "textures", or a folder.

    Args:
        asked: a folder holds images of one concept, or one sub-folder a concept.
        dataset: which counterparts are drawn from.
        inputs: how the network reads images.
        seed: of the draws.

    Raises:
        UserError: no such folder, no masks, or no concept with enough images.
    """
    if asked == LESIONS:
        found = lesion_concepts(dataset, seed=seed)
    elif asked == TEXTURES:
        found = _beside(dataset, texture_crops(int(dataset.pixels.shape[1]), seed=seed), seed)
    else:
        found = _folder_concepts(Path(asked), dataset, inputs, seed)
    if not found.concepts:
        raise UserError(found.notes[0] if len(found.notes) == 1 else f"No concept can be tested. {found.notes[0]}")
    return found


def lesion_concepts(dataset: Any, *, seed: int = 0) -> ConceptSource:
    """Each kind of lesion that the masks name: images with it, and those without it.

    Raises:
        UserError: the data set has no masks.
    """
    names = dataset.spec.mask_names
    if not getattr(dataset, "has_masks", False) or not names:
        raise UserError(
            f"The data set {dataset.name!r} has no masks of lesions; give folders of images instead, one a concept."
        )
    sample = _sample(dataset, seed)
    marked = [mask_values(dataset.mask(row)) if counts else set() for row, counts in enumerate(takes_part(dataset))]
    asked, notes = {}, []
    for value, name in enumerate(names, start=1):
        shown = np.flatnonzero([value in values for values in marked])
        without = [row for row in sample if value not in marked[row]]
        if min(len(shown), len(without)) < MIN_IMAGES:
            few = f"{len(shown)} images with it" if len(shown) < MIN_IMAGES else f"{len(without)} images without it"
            notes.append(f"{name}: only {few}, and a concept needs {MIN_IMAGES}.")
            continue
        asked[name] = (_draw(shown, MAX_IMAGES, seed + value).tolist(), without)
    if not asked and not notes:
        notes.append("The masks name no lesion.")
    rows = sorted({*sample, *(row for shown, _ in asked.values() for row in shown)})
    place = {row: number for number, row in enumerate(rows)}

    def numbers(of: Sequence[int]) -> tuple[int, ...]:
        return tuple(place[row] for row in of)

    concepts = [
        ConceptImages(name, numbers(shown), numbers(without), "images without it")
        for name, (shown, without) in asked.items()
    ]
    return ConceptSource(_read(dataset, rows), tuple(concepts), numbers(sample), tuple(notes))


def mask_values(mask: np.ndarray | None) -> set[int]:
    """The kinds that a mask (S, S) marks somewhere."""
    return set() if mask is None else {int(value) for value in np.unique(mask)} - {0}


def texture_crops(side_px: int, *, seed: int = 0) -> dict[str, list[np.ndarray]]:
    """Brick, grass and gravel of scikit-image, 24 random pieces (side, side, 3) of each, turned and enlarged."""
    import skimage.data
    from PIL import Image

    random, crops = np.random.default_rng(seed), {}
    for name in TEXTURE_NAMES:
        picture = getattr(skimage.data, name)()
        pieces = []
        for _ in range(_NUM_CROPS):
            side = int(random.integers(_LEAST_PX, min(picture.shape) + 1))
            top, left = (int(random.integers(0, length - side + 1)) for length in picture.shape)
            piece = np.rot90(picture[top : top + side, left : left + side], int(random.integers(4)))
            enlarged = Image.fromarray(np.ascontiguousarray(piece)).resize((side_px, side_px), Image.Resampling.BICUBIC)
            pieces.append(np.asarray(enlarged)[..., None].repeat(3, axis=2))
        crops[name] = pieces
    return crops


def _folder_concepts(folder: Path, dataset: Any, inputs: InputTransform, seed: int) -> ConceptSource:
    existing_folder(folder)
    folders = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    found: dict[str, list[np.ndarray]] = {}
    notes = []
    with inputs.decoder_pool(2) as pool:
        for one in folders or [folder]:
            files = sorted(path for path in one.iterdir() if path.is_file() and has_image_suffix(path.name))
            decoded = dict(pool.decode_many(files[:MAX_IMAGES]))
            squares = [image.pixels for _, image in sorted(decoded.items()) if isinstance(image, DecodedImage)]
            if len(squares) < MIN_IMAGES:
                notes.append(
                    f"The concept {one.name!r} has {len(squares)} images that can be read; it needs {MIN_IMAGES}."
                )
                continue
            found[one.name] = squares
    source = _beside(dataset, found, seed)
    return replace(source, notes=tuple(notes))


def _beside(dataset: Any, squares: dict[str, list[np.ndarray]], seed: int) -> ConceptSource:
    """Concepts whose counterparts are any images of the data set."""
    pool = _read(dataset, _sample(dataset, seed))
    others, concepts = tuple(range(len(pool))), []
    for name, own in squares.items():
        shown = tuple(range(len(pool), len(pool) + len(own)))
        concepts.append(ConceptImages(name, shown, others, "images of the data set"))
        pool += own
    return ConceptSource(pool, tuple(concepts), others)


def _sample(dataset: Any, seed: int) -> list[int]:
    """Rows that counterparts are drawn from: few enough to be kept in memory."""
    return [int(row) for row in _draw(np.flatnonzero(takes_part(dataset)), _POOL, seed)]


def _draw(rows: np.ndarray, most: int, seed: int) -> np.ndarray:
    if len(rows) <= most:
        return rows
    return np.sort(np.random.default_rng(seed).choice(rows, most, replace=False))


def _read(dataset: Any, rows: Sequence[int]) -> list[np.ndarray]:
    return [np.asarray(dataset.pixels[row]) for row in rows]
