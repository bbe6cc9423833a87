"""The uploads of one sitting and their grades. In memory only: nothing is written, and closing the browser ends it."""

import hashlib
import io
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from lib.grading.grades import Grade, skipped_grades
from lib.grading.uploads import Skipped, expand_uploads
from lib.settings import MAX_UPLOAD_FILES

MAX_KEPT_BYTES = 200 * 2**20
# Grades of so many runs are kept, so that two runs can be compared on the same files.
MAX_KEPT_RUNS = 4


@dataclass(frozen=True)
class SittingFile:
    """One row: a name, and the SHA-256 of its content by which its grade is found."""

    name: str
    sha256: str


class Sitting:
    """Files in the order in which they came, graded once for each content and run."""

    def __init__(self) -> None:
        self.files: list[SittingFile] = []
        self.skipped: list[Skipped] = []
        self._contents: dict[str, bytes] = {}
        self._grades: dict[str, dict[str, tuple[Grade, bytes | None]]] = {}

    def clear(self) -> None:
        """Forget everything, in place: whoever still holds the sitting holds no image any more."""
        for kept in (self.files, self.skipped, self._contents, self._grades):
            kept.clear()

    def __len__(self) -> int:
        return len(self.files) + len(self.skipped)

    def add(self, uploads: Iterable[tuple[str, bytes]]) -> int:
        """Take uploaded files and the files of uploaded archives; returns how many are new.

        A file that is there already, by name and content, is not taken twice.
        """
        expansion = expand_uploads(uploads, max_bytes=MAX_KEPT_BYTES - self._num_bytes())
        known = set(self.files)
        skipped = list(expansion.skipped)
        num_before = len(self.files)
        for name, data in expansion.items:
            content = data if isinstance(data, bytes) else data.read_bytes()
            file = SittingFile(name, hashlib.sha256(content).hexdigest())
            if file in known:
                continue
            if len(self.files) >= MAX_UPLOAD_FILES:
                skipped.append(
                    Skipped(name, f"Only {MAX_UPLOAD_FILES} files are graded in one sitting; clear it first.")
                )
            elif file.sha256 not in self._contents and self._num_bytes() + len(content) > MAX_KEPT_BYTES:
                skipped.append(
                    Skipped(name, f"More than {MAX_KEPT_BYTES // 2**20} MiB in one sitting; clear it first.")
                )
            else:
                known.add(file)
                self.files.append(file)
                self._contents[file.sha256] = content
        self.skipped += [entry for entry in skipped if entry not in self.skipped]
        return len(self.files) - num_before

    def waiting(self, run_id: str) -> list[tuple[str, bytes]]:
        """What this run has not graded yet: (SHA-256, content), each content once."""
        done = self._grades.get(run_id, {})
        waiting = dict.fromkeys(file.sha256 for file in self.files if file.sha256 not in done)
        return [(sha256, self._contents[sha256]) for sha256 in waiting]

    def keep(self, run_id: str, sha256: str, grade: Grade) -> None:
        """Keep a grade; its pixels are kept as JPEG, a tenth of the memory."""
        from lib.explain.pictures import to_jpeg

        self._grades.setdefault(run_id, {})
        while len(self._grades) > MAX_KEPT_RUNS:
            self._grades.pop(next(run for run in self._grades if run != run_id))
        jpeg = None if grade.pixels is None else to_jpeg(grade.pixels)
        self._grades[run_id][sha256] = (replace(grade, pixels=None), jpeg)

    def rows(self, run_id: str) -> list[tuple[Grade, bytes | None]]:
        """(grade without pixels, JPEG) of each file that this run has graded, then of the files that were left out."""
        done = self._grades.get(run_id, {})
        graded = [(file.name, *done[file.sha256]) for file in self.files if file.sha256 in done]
        left_out: list[tuple[Grade, bytes | None]] = [(grade, None) for grade in skipped_grades(self.skipped)]
        return [(replace(grade, name=name), jpeg) for name, grade, jpeg in graded] + left_out

    def grades(self, run_id: str) -> list[Grade]:
        """The same with pixels, as a report with pictures needs them."""
        return [replace(grade, pixels=jpeg_pixels(jpeg)) for grade, jpeg in self.rows(run_id)]

    def _num_bytes(self) -> int:
        return sum(map(len, self._contents.values()))


def jpeg_pixels(jpeg: bytes | None) -> np.ndarray | None:
    """Pixels (h, w, 3) of a JPEG that `Sitting.keep` made itself: no untrusted bytes."""
    from PIL import Image

    return None if jpeg is None else np.asarray(Image.open(io.BytesIO(jpeg)))
