"""A folder on this machine: class folders, split folders, or images with a label file."""

from pathlib import Path

from lib.data.sources.files import existing_folder
from lib.data.sources.folder import scan_folder
from lib.data.sources.reading import READING_OPTIONS, reading_of
from lib.data.sources.table import SOURCES, FoundImages, SourceOption, SourceRequest, SourceSpec, only_reading_tells


def read(request: SourceRequest) -> FoundImages:
    """The images of the folder where they lie."""
    path = request.values["path"]
    options = reading_of(request.values, existing_folder(path))
    scan = scan_folder(path, options, is_allowed=request.is_allowed, min_classes=request.min_classes)
    return FoundImages(scan=scan)


SOURCES.add(
    SourceSpec(
        name="folder",
        title="Folder",
        summary="One sub-folder for each class, with or without train, val and test above them; or images with a "
        "label file, a CSV or Excel table with a column of images and one of classes.",
        read=read,
        options=(
            SourceOption(name="path", title="Folder", kind=Path, is_required=True, help="Read where it lies."),
            *READING_OPTIONS,
        ),
        takes=Path.is_dir,
        state=only_reading_tells,
        look=lambda request: existing_folder(request.values["path"]),
    )
)
