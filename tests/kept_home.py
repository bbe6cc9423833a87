"""What many tests copy is made once: in a home that lasts as long as the test process, or as all of them together."""

import atexit
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from filelock import FileLock

from lib.atomic import write_json
from lib.settings import datasets_dir

_MADE = "made.json"  # in a folder whose content is whole
_of_all_processes: list[Path] = []


def share_folder(folder: Path) -> None:
    """Name the folder of this session that all of its test processes see."""
    _of_all_processes[:] = [folder]


@contextmanager
def kept_home() -> Iterator[Path]:
    """A TRANSFERSCOPE_HOME that stands until the process ends, and is the current one inside `with`."""
    home = Path(tempfile.mkdtemp(prefix="transferscope-kept-"))
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRANSFERSCOPE_HOME", str(home))
        yield home


def made_once(name: str, make: Callable[[Path], object]) -> Path:
    """A folder that the first test process to ask fills for all of them: to be copied, never changed.

    `make` gets the folder; "home" in it is the current TRANSFERSCOPE_HOME meanwhile.
    """
    folder = _of_all_processes[0] / f"made-{name}"
    with FileLock(f"{folder}.lock"):
        if not (folder / _MADE).exists():
            shutil.rmtree(folder, ignore_errors=True)  # of a process that failed at it
            (folder / "home").mkdir(parents=True)
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("TRANSFERSCOPE_HOME", str(folder / "home"))
                make(folder)
            write_json(folder / _MADE, {})
    return folder


def put_generated_eyes() -> None:
    """Put eight small generated photographs of each grade into the current library, under their set's own name."""
    from lib.data.builtin import make_synthetic_fundus

    made = made_once("eyes", lambda folder: make_synthetic_fundus(per_class=8, size_px=96))
    shutil.copytree(made / "home" / "datasets", datasets_dir(), dirs_exist_ok=True)
