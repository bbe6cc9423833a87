"""How files that lie in folders are read, whatever brought them there: options that several sources share."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

from lib.data.sources.files import shown
from lib.data.sources.table import SourceOption
from lib.data.sources.tables import SourceOptions, label_paths
from lib.errors import UserError

PAIRS = SourceOption(
    name="pairs", title="Keep a patient's images together", kind=bool, default=True,
    help="By a column such as patient, or by left and right in the names.",
)  # fmt: skip
READING_OPTIONS = (
    SourceOption(
        name="labels", title="Labels from", kind=tuple, default=(),
        help='Label files; found by themselves in the folder or beside it. "folders": the sub-folders are the classes.',
    ),
    SourceOption(name="class_column", title="Class column", help="Column of the label file that holds the classes."),
    SourceOption(name="image_column", title="Image column", help="Column of the label file that names the images."),
    SourceOption(name="sheet", title="Sheet", help="Of an Excel workbook; recognised where it is clear."),
    SourceOption(
        name="name_pattern", title="Classes from names",
        help="Such as {class}.{number} for cat.123.jpg: {class} stands for the class, {number} for digits, * for "
        "anything.",
    ),
    SourceOption(
        name="group_column", title="Group column",
        help="Column of the label file or of metadata.csv that says which images belong together, such as patient.",
    ),
    PAIRS,
)  # fmt: skip
_NAMES = tuple(one.name for one in fields(SourceOptions))


def is_reading(name: str) -> bool:
    """Whether an option is one of these."""
    return name in _NAMES


@contextmanager
def called(folder: Path, name: Path) -> Iterator[None]:
    """Let refusals name the archive that a person knows, where they would name the folder that it was unpacked to."""
    try:
        yield
    except UserError as error:
        raise UserError(str(error).replace(shown(folder), shown(name))) from None


def reading_of(values: Mapping[str, Any], folder: Path, *, beside: Path | None = None) -> SourceOptions:
    """The options of a scan of `folder`; raises UserError where a label file is not there, in it or `beside` it."""
    reading = {name: value for name, value in values.items() if is_reading(name)}
    return SourceOptions(**{**reading, "labels": label_paths(folder, reading.get("labels", ()), beside=beside)})
