"""Where an import is prepared, so that the library never shows half of one."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from lib.settings import datasets_dir

STAGING_PREFIX = ".staging-"


@contextmanager
def staging_folder() -> Iterator[Path]:
    """A temporary folder beside the data sets; removes what interrupted imports left there."""
    for old in datasets_dir().glob(f"{STAGING_PREFIX}*"):
        if not _is_alive(int(old.name.removeprefix(STAGING_PREFIX).split("-")[0])):
            shutil.rmtree(old, ignore_errors=True)
    folder = datasets_dir() / f"{STAGING_PREFIX}{os.getpid()}-{uuid4().hex[:8]}"
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
