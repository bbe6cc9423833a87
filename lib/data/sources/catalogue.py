"""The table of sources with everything in it that lies in lib/data/sources/readers."""

import importlib
import pkgutil
from pathlib import Path

from lib.data.sources import readers
from lib.data.sources.table import SOURCES, SourceSpec

__all__ = ["SOURCES", "find_source"]

# Each file enters its own when it is imported; the folder, which most people have, stands first.
for _name in sorted(
    (found.name for found in pkgutil.iter_modules(readers.__path__)), key=lambda name: name != "folder"
):
    importlib.import_module(f"{readers.__name__}.{_name}")


def find_source(path: Path) -> SourceSpec:
    """The source that a path is of, by its kind of file; a folder where nothing else takes it."""
    return next((spec for spec in SOURCES if spec.takes(path)), SOURCES.get("folder"))
