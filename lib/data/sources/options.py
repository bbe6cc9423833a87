"""How a folder is to be read, where a person says so."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lib.data.sources.layout import shown
from lib.data.sources.table_columns import ColumnChoice
from lib.errors import UserError

FOLDERS = "folders"  # instead of a label file: the sub-folders are the classes


@dataclass(frozen=True)
class SourceOptions:
    """How a folder is read; what is left out is recognised.

    `labels` are label files, or "folders" for none; `class_column` and `image_column` are columns of them, and
    `group_column` one of them or of `metadata.csv` that says which images belong to one patient. With `pairs` patients
    are recognised by a column of that name, or by left and right eye in the names.
    """

    labels: tuple[str, ...] = ()
    class_column: str | None = None
    image_column: str | None = None
    group_column: str | None = None
    pairs: bool = True

    def __post_init__(self) -> None:
        if not self.pairs and self.group_column is not None:
            raise UserError(
                f"The group column {self.group_column!r} keeps images together and --no-pairs does not; take one of "
                "them."
            )

    @property
    def choice(self) -> ColumnChoice:
        """What is said of the columns of a label file."""
        return ColumnChoice(self.image_column, self.class_column, self.group_column)


def label_paths(folder: Path, given: str | Path | Sequence[str | Path]) -> tuple[str, ...]:
    """One label file or several as whole paths: as given from here, or else in the folder or beside it.

    Raises UserError if there is no such file.
    """
    given = [given] if isinstance(given, str | Path) else given
    if tuple(map(str, given)) == (FOLDERS,):
        return (FOLDERS,)
    return tuple(str(_label_path(folder, Path(one).expanduser())) for one in given)


def _label_path(folder: Path, given: Path) -> Path:
    for place in (Path.cwd(), folder, folder.parent):
        if (path := place / given).exists():
            return Path(os.path.abspath(path))  # noqa: PTH100  (a link keeps its name)
    raise UserError(f"There is no label file {shown(given)}, here or in {shown(folder)} or beside it; check the path.")
