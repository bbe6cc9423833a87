"""Decodes untrusted images in child processes that may crash, hang or run out of memory without harm.

The children are started as `python -m lib.data.decode_child` and spoken to through pipes: no fork of a process that
has threads or CUDA, no pickles, no torch in a child.
"""

import atexit
import itertools
import json
import os
import queue
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from lib.data.decode_child import LENGTHS
from lib.data.images import DecodedImage, ImageHeader
from lib.data.specs import check_crop_policy
from lib.errors import BadImage
from lib.settings import DECODE_TIMEOUT_S, PROJECT_ROOT

Source = Path | str | bytes
Result = TypeVar("Result")

_CHILD_COMMAND = (sys.executable, "-m", "lib.data.decode_child")
_START_TIMEOUT_S = 60.0
# The child limits its computing time to DECODE_TIMEOUT_S; this ends one that waits, even on a busy machine.
_WAIT_TIMEOUT_S = 4 * DECODE_TIMEOUT_S
_TOO_LONG = f"Decoding took longer than {DECODE_TIMEOUT_S:g} s and was ended."


class _ChildDiedError(Exception):
    """The child ended, or answered what is no answer."""


class DecoderPool:
    """Child processes that decode images; a context manager. Thread-safe."""

    def __init__(self, num_workers: int = 2, *, side_px: int = 384, crop_policy: str = "center_square") -> None:
        check_crop_policy(crop_policy)
        self.num_workers = num_workers
        self.side_px = side_px
        self.crop_policy = crop_policy
        self._workers = [_Worker() for _ in range(num_workers)]
        self._idle: queue.LifoQueue[_Worker] = queue.LifoQueue()
        for worker in self._workers:
            self._idle.put(worker)

    def __enter__(self) -> "DecoderPool":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the child processes; a later call starts them again."""
        for worker in self._workers:
            worker.close()

    def decode(self, source: Source, *, side_px: int | None = None, crop_policy: str | None = None) -> DecodedImage:
        """Decode a path or bytes; raises BadImage."""
        side = side_px or self.side_px
        request = {"probe": False, "side_px": side, "crop_policy": crop_policy or self.crop_policy}
        answer, payload = self._ask(request, source)
        pixels = np.frombuffer(payload, dtype=np.uint8).reshape(side, side, 3)
        box: Any = tuple(answer["box"])
        return DecodedImage(pixels, answer["width"], answer["height"], box, tuple(answer["notices"]))

    def probe(self, source: Source) -> ImageHeader:
        """Read the header and the content's SHA-256; raises BadImage."""
        answer, _ = self._ask({"probe": True}, source)
        return ImageHeader(**answer)

    def decode_mask(self, source: Source, image: DecodedImage) -> np.ndarray:
        """Read the mask of a decoded image, uint8 (side, side), cut as the image was; raises BadImage."""
        request = {"probe": False, "is_mask": True, "box": image.box, "image_size": (image.width, image.height)}
        _, payload = self._ask(request | {"side_px": self.side_px}, source)
        return np.frombuffer(payload, dtype=np.uint8).reshape(self.side_px, self.side_px)

    def decode_many(self, sources: Sequence[Source]) -> Iterator[tuple[int, DecodedImage | BadImage]]:
        """Yield (index, image or its BadImage) in the order in which they are ready."""
        yield from self._run_many(self.decode, sources)

    def probe_many(self, sources: Sequence[Source]) -> Iterator[tuple[int, ImageHeader | BadImage]]:
        """Yield (index, header or its BadImage) in the order in which they are ready."""
        yield from self._run_many(self.probe, sources)

    def _run_many(
        self, work: Callable[[Source], Result], sources: Iterable[Source]
    ) -> Iterator[tuple[int, Result | BadImage]]:
        waiting = enumerate(sources)
        running: dict[Future[Result], int] = {}
        executor = ThreadPoolExecutor(self.num_workers, thread_name_prefix="decoder")
        try:
            while True:
                # Two a worker: nobody waits for work, and few decoded images wait in memory.
                for index, source in itertools.islice(waiting, 2 * self.num_workers - len(running)):
                    running[executor.submit(work, source)] = index
                if not running:
                    return
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    error = future.exception()
                    if error is not None and not isinstance(error, BadImage):
                        raise error
                    yield running.pop(future), error or future.result()
        finally:
            executor.shutdown(cancel_futures=True)

    def _ask(self, request: dict[str, Any], source: Source) -> tuple[dict[str, Any], bytearray]:
        is_path = not isinstance(source, bytes)
        # The child works in another folder, so that a relative path would mislead it.
        payload = source if isinstance(source, bytes) else os.fsencode(Path(source).absolute())
        worker = self._idle.get()
        try:
            answer, pixels = worker.ask(request | {"is_path": is_path}, payload)
        finally:
            self._idle.put(worker)
        if "bad" in answer:
            raise BadImage(answer["bad"])
        return answer, pixels


class _Worker:
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


_shared: DecoderPool | None = None
_shared_lock = threading.Lock()


def decode_one(source: Source, *, side_px: int, crop_policy: str = "center_square") -> DecodedImage:
    """Decode a path or bytes in the process-wide pool, which is made at the first call; raises BadImage."""
    global _shared  # noqa: PLW0603  (one pool a process is the point)
    with _shared_lock:
        if _shared is None:
            _shared = DecoderPool()
            atexit.register(_shared.close)
    check_crop_policy(crop_policy)
    return _shared.decode(source, side_px=side_px, crop_policy=crop_policy)
