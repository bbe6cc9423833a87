"""One child process that decodes untrusted images, and may crash, hang or run out of memory without harm.

It is started as `python -m lib.data.decode_child` and spoken to through pipes: no fork of a process that has threads or
CUDA, no pickles, no torch in the child.
"""

import json
import os
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from typing import Any

from lib.data.decode_child import LENGTHS
from lib.errors import BadImage
from lib.settings import DECODE_TIMEOUT_S, PROJECT_ROOT

_CHILD_COMMAND = (sys.executable, "-m", "lib.data.decode_child")
_START_TIMEOUT_S = 60.0
# The child limits its computing time to DECODE_TIMEOUT_S; this ends one that waits, even on a busy machine.
_WAIT_TIMEOUT_S = 4 * DECODE_TIMEOUT_S
_TOO_LONG = f"Decoding took longer than {DECODE_TIMEOUT_S:g} s and was ended."


class _ChildDiedError(Exception):
    """The child ended, or answered what is no answer."""


class DecodeWorker:
    """One child process, started when first needed and again after it died."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def ask(self, request: dict[str, Any], payload: bytes) -> tuple[dict[str, Any], bytearray]:
        """Send a request and return header and payload of the answer; raises BadImage on a crash or time-out."""
        header = json.dumps(request).encode()
        message = LENGTHS.pack(len(header), len(payload)) + header + payload
        with suppress(_ChildDiedError):
            return self._exchange(message)
        # Perhaps the child was killed for another reason (memory ran short elsewhere): the file gets a second chance.
        try:
            return self._exchange(message)
        except _ChildDiedError:
            raise BadImage("The decoder crashed on this file; it is damaged or made to do harm.") from None

    def _exchange(self, message: bytes) -> tuple[dict[str, Any], bytearray]:
        if self._process is None or self._process.poll() is not None:
            self._start()
        deadline_s = time.monotonic() + _WAIT_TIMEOUT_S
        try:
            self._write(message, deadline_s)
            return self._read_answer(deadline_s)
        except TimeoutError:
            self.close()
            raise BadImage(_TOO_LONG) from None
        except (EOFError, OSError, ValueError) as error:
            if self._last_status() == -signal.SIGXCPU:
                raise BadImage(_TOO_LONG) from None
            raise _ChildDiedError from error
        except BaseException:
            # Also after an interrupt between question and answer: the next question must not read the old answer.
            self.close()
            raise

    def _last_status(self) -> int | None:
        """Exit status of a child whose pipe has closed, so that it is about to be gone by itself."""
        process = self._process
        with suppress(subprocess.TimeoutExpired):
            process.wait(1.0)  # type: ignore[union-attr]
        self.close()
        return process.returncode  # type: ignore[union-attr]

    def close(self) -> None:
        """Kill the child; it holds nothing worth saving."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        for pipe in (process.stdin, process.stdout):
            with suppress(OSError):
                pipe.close()  # type: ignore[union-attr]
        process.wait()

    def _start(self) -> None:
        self.close()
        self._process = subprocess.Popen(
            _CHILD_COMMAND,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=PROJECT_ROOT,
            bufsize=0,
            env=os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        )
        for pipe in (self._process.stdin, self._process.stdout):
            os.set_blocking(pipe.fileno(), False)  # type: ignore[union-attr]
        try:
            self._read_answer(time.monotonic() + _START_TIMEOUT_S)
        except (TimeoutError, EOFError, OSError, ValueError) as error:
            self.close()
            raise RuntimeError(f"The image decoder did not start: {' '.join(_CHILD_COMMAND)}") from error

    def _write(self, data: bytes, deadline_s: float) -> None:
        pipe = self._process.stdin  # type: ignore[union-attr]
        left = memoryview(data)
        while left:
            _wait_for(pipe, select.POLLOUT, deadline_s)
            left = left[pipe.write(left) or 0 :]  # type: ignore[union-attr]

    def _read_answer(self, deadline_s: float) -> tuple[dict[str, Any], bytearray]:
        header_bytes, payload_bytes = LENGTHS.unpack(self._read(LENGTHS.size, deadline_s))
        header = json.loads(self._read(header_bytes, deadline_s))
        return header, self._read(payload_bytes, deadline_s)

    def _read(self, num_bytes: int, deadline_s: float) -> bytearray:
        pipe = self._process.stdout  # type: ignore[union-attr]
        data = bytearray(num_bytes)
        view, filled = memoryview(data), 0
        while filled < num_bytes:
            _wait_for(pipe, select.POLLIN, deadline_s)
            count = pipe.readinto(view[filled:])  # type: ignore[union-attr]
            if count == 0:
                raise EOFError
            filled += count or 0
        return data


def _wait_for(pipe: Any, event: int, deadline_s: float) -> None:
    poll = select.poll()
    poll.register(pipe, event)
    if not poll.poll(max(0.0, deadline_s - time.monotonic()) * 1000):
        raise TimeoutError
