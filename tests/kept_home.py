"""What many tests copy is made once, in a home that lasts as long as the test process."""

import atexit
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def kept_home() -> Iterator[Path]:
    """A TRANSFERSCOPE_HOME that stands until the process ends, and is the current one inside `with`."""
    home = Path(tempfile.mkdtemp(prefix="transferscope-kept-"))
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRANSFERSCOPE_HOME", str(home))
        yield home
