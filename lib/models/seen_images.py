"""Which images a classifier has seen, kept beside it by the hash of their files: of those, no answer is news.

An image's id is the beginning of the SHA-256 of its file (`image_id`), so that the same file is known again in every
data set, at every store side and crop, and as an upload. A file that was encoded anew is another file.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from lib.errors import UserError
from lib.models.bundle_files import read_side_file, write_side_file

SEEN_FILE = "seen.safetensors"  # beside the classifier in its bundle
FITTED, VALIDATED = "fitted", "validated"
_TITLE = "The list of training images"
_ID_LETTERS = 16  # of a SHA-256 in hexadecimal: eight bytes


def image_id_of(sha256: str) -> str:
    """The id by which a data set calls a file with this SHA-256."""
    return sha256[:_ID_LETTERS]


@dataclass(frozen=True, eq=False)
class SeenImages:
    """Images that a kept classifier has seen, as sorted numbers uint64.

    Attributes:
        fitted: its weights, or the neighbours that it keeps, come from these.
        validated: its penalty, its best epoch or its limits were chosen by these, and by no others.
        is_complete: False for a classifier of an earlier version whose images cannot be told any more: others than the
            listed ones may have been seen too.
    """

    fitted: np.ndarray = field(default_factory=lambda: np.empty(0, np.uint64))
    validated: np.ndarray = field(default_factory=lambda: np.empty(0, np.uint64))
    is_complete: bool = True

    @classmethod
    def of(cls, fitted: Iterable[str], validated: Iterable[str], *, is_complete: bool = True) -> "SeenImages":
        """From image ids; an image in both counts as fitted."""
        first = np.unique(_as_numbers(fitted))
        return cls(first, np.setdiff1d(_as_numbers(validated), first), is_complete)

    def roles(self, image_ids: Iterable[str]) -> np.ndarray:
        """What each image was to the classifier (N,): "fitted", "validated", or "" for one that it has not seen."""
        numbers = _as_numbers(image_ids)
        roles = np.full(len(numbers), "", dtype="<U9")
        roles[np.isin(numbers, self.validated)] = VALIDATED
        roles[np.isin(numbers, self.fitted)] = FITTED
        return roles

    def role(self, image_id: str) -> str:
        """The same of one image."""
        return str(self.roles([image_id])[0])


def save_seen(path: Path, seen: SeenImages) -> None:
    """Write them as one safetensors file, eight bytes an image, atomically."""
    write_side_file(path, {FITTED: seen.fitted, VALIDATED: seen.validated}, {"is_complete": str(seen.is_complete)})


def load_seen(path: Path) -> SeenImages:
    """Read what `save_seen` wrote; raises UserError if the file is damaged, newer or something else."""
    seen = read_side_file(
        path,
        lambda arrays, facts: SeenImages(arrays[FITTED], arrays[VALIDATED], facts["is_complete"] == "True"),
        title=_TITLE,
        owner="classifier",
        remedy="train it again",
    )
    if any(numbers.dtype != np.uint64 or numbers.ndim != 1 for numbers in (seen.fitted, seen.validated)):
        raise UserError(f"{_TITLE} {path.name} of this classifier is damaged; train it again.")
    return seen


def _as_numbers(image_ids: Iterable[str]) -> np.ndarray:
    return np.array([_as_number(str(image_id)) for image_id in image_ids], dtype=np.uint64)


def _as_number(image_id: str) -> int:
    try:
        if len(image_id) == _ID_LETTERS:
            return int(image_id, 16)
    except ValueError:
        pass
    return int.from_bytes(hashlib.sha256(image_id.encode()).digest()[:8], "big")  # an id that is no hash
