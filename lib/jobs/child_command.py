"""A command of this program in a child process: its progress line by line, its answer as JSON, its end on request."""

import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import IO, Any

import psutil

from lib.errors import UserError
from lib.jobs.processes import NICENESS
from lib.progress import Progress
from lib.settings import PROJECT_ROOT

_POLL_S = 0.2
_COUNTED = re.compile(r"^(?P<what>.*?) (?P<done>\d+)/(?P<total>\d+)\b")
# Whatever else a child says (warnings of libraries) is not for a person.
_ERROR = "Error: "


def run_child_command(arguments: Sequence[str], progress: Progress) -> dict[str, Any]:
    """Run `python -m lib ARGUMENTS --json` politely and return its answer.

    Args:
        arguments: a command that takes `--json`.
        progress: called several times a second with what the child says of its progress; if it raises (Stopped), the
            child is ended.

    Raises:
        UserError: what the command said was wrong, or that it broke off.
    """
    command = [sys.executable, "-m", "lib", *arguments, "--json"]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, cwd=PROJECT_ROOT, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True
    ) as child:
        with suppress(psutil.Error):
            psutil.Process(child.pid).nice(NICENESS)
        said, answer = _Lines(child.stderr), _Lines(child.stdout)
        try:
            while child.poll() is None:
                progress(*said.position())
                time.sleep(_POLL_S)
        except BaseException:
            child.kill()
            raise
        said.thread.join()
        answer.thread.join()
    if child.returncode != 0 or not answer.lines:
        errors = [line.removeprefix(_ERROR) for line in said.lines if line.startswith(_ERROR)]
        raise UserError(errors[-1] if errors else f"The measurement broke off (exit status {child.returncode}).")
    content: dict[str, Any] = json.loads(answer.lines[-1])
    return content


class _Lines:
    """Lines of a stream, read by a thread of their own, so that the child never waits for us."""

    def __init__(self, stream: IO[str] | None) -> None:
        self.lines: list[str] = []
        self._stream = stream
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def position(self) -> tuple[int, int, str]:
        """Done, total and what, from the last line that counts something."""
        for line in reversed(self.lines):
            if found := _COUNTED.match(line):
                return int(found["done"]), int(found["total"]), found["what"].lower()
        return 0, 0, "starting"

    def _read(self) -> None:
        for line in self._stream or ():
            self.lines.append(line.strip())
