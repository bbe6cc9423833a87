"""A folder of images that have no classes yet: a person names the classes, and labels the images afterwards."""

from pathlib import Path

from lib.data.label_schema import LabelSchema, SchemaChange, parse_names
from lib.data.sources.files import existing_folder
from lib.data.sources.folder import scan_unlabelled
from lib.data.sources.reading import PAIRS
from lib.data.sources.table import SOURCES, FoundImages, SourceOption, SourceRequest, SourceSpec, only_reading_tells
from lib.data.sources.tables import SourceOptions
from lib.errors import UserError


def read(request: SourceRequest) -> FoundImages:
    """All images of the folder and below it, none of a class."""
    path, asked = request.values["path"], parse_names(request.values["classes"])
    existing_folder(path)
    if len(asked) < 2:
        raise UserError(
            "Name at least two classes, between commas, such as cat,dog; an image gets one of them when it is labelled."
        )
    numbers = tuple(map(str, range(len(asked))))
    names = LabelSchema(numbers, numbers).changed(SchemaChange(class_names=asked)).names  # each checked, none twice
    options = SourceOptions(group_column=request.values["group_column"], pairs=request.values["pairs"])
    return FoundImages(scan=scan_unlabelled(path, names, options, is_allowed=request.is_allowed))


SOURCES.add(
    SourceSpec(
        name="unlabelled",
        title="Images without labels",
        summary="Any folder of images. You name the classes; the images get theirs one by one under Explore data, "
        '"Label". Only labelled images take part in a training.',
        read=read,
        is_unlabelled=True,
        options=(
            SourceOption(name="path", title="Folder", kind=Path, is_required=True, help="Read where it lies."),
            SourceOption(
                name="classes", title="Classes", is_required=True,
                help="At least two names between commas, such as cat,dog.",
            ),
            SourceOption(
                name="group_column", title="Group column",
                help="Column of metadata.csv that says which images belong together, such as patient.",
            ),
            PAIRS,
        ),
        state=only_reading_tells,
    )
)  # fmt: skip
