"""Decodes untrusted images in child processes, many at a time, which may crash, hang or run out of memory without harm.

A child is started as `python -m lib.data.decode_child` and spoken to through a socket: no fork of a process that has
threads or CUDA, no pickles, no torch in the child.
"""

import atexit
import copy
import functools
import itertools
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from lib.data.decode_child import LENGTHS
from lib.data.images import DecodedImage, ImageHeader
from lib.data.specs import FULL_RANGE, ValueScale, check_crop_policy
from lib.errors import BadImage
from lib.runtime import available_cores
from lib.settings import DECODE_TIMEOUT_S, PROJECT_ROOT

if TYPE_CHECKING:
    from lib.data.stored_rows import StoredFile

_CHILD_COMMAND = (sys.executable, "-m", "lib.data.decode_child")
_START_TIMEOUT_S = 60.0
# The child limits its computing time to DECODE_TIMEOUT_S; this ends one that waits, even on a busy machine.
_WAIT_TIMEOUT_S = 4 * DECODE_TIMEOUT_S
# glibc gives the memory of every picture back and faults it in again for the next: a quarter of the time. Blocks of up
# to 32 MiB come from a heap instead, which keeps up to 64 MiB; elsewhere nobody reads this.
KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(2**25), "MALLOC_TRIM_THRESHOLD_": str(2**26)}
_CHILD_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", **KEEP_MEMORY}
_TOO_LONG = f"Decoding took longer than {DECODE_TIMEOUT_S:g} s and was ended."
Source = Path | str | bytes
Asked = TypeVar("Asked")
Result = TypeVar("Result")


class _ChildDiedError(Exception):
    """The child ended, or answered what is no answer."""


class _Worker:
    """One child process, started when first needed and again after it died."""

    _process: "subprocess.Popen[bytes] | None" = None
    _socket: socket.socket

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
        process = self._process
        if process is None or process.poll() is not None:
            process = self._start()
        try:
            self._socket.settimeout(_WAIT_TIMEOUT_S)
            self._socket.sendall(message)
            return self._read_answer(_WAIT_TIMEOUT_S)
        except TimeoutError:
            self.close()
            raise BadImage(_TOO_LONG) from None
        except (EOFError, OSError, ValueError) as error:
            with suppress(subprocess.TimeoutExpired):
                process.wait(1.0)  # its end of the socket has closed, so that it is about to be gone by itself
            self.close()
            if process.returncode == -signal.SIGXCPU:
                raise BadImage(_TOO_LONG) from None
            raise _ChildDiedError from error
        except BaseException:
            # Also after an interrupt between question and answer: the next question must not read the old answer.
            self.close()
            raise

    def close(self) -> None:
        """Kill the child; it holds nothing worth saving."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            self._socket.close()
            process.wait()

    def _start(self) -> "subprocess.Popen[bytes]":
        self.close()
        self._socket, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                _CHILD_COMMAND, stdin=theirs.fileno(), stdout=theirs.fileno(), stderr=subprocess.DEVNULL,
                cwd=PROJECT_ROOT, env=os.environ | _CHILD_ENVIRONMENT,
            )  # fmt: skip
        try:
            self._read_answer(_START_TIMEOUT_S)
        except (TimeoutError, EOFError, OSError, ValueError) as error:
            self.close()
            raise RuntimeError(f"The image decoder did not start: {' '.join(_CHILD_COMMAND)}") from error
        return self._process

    def _read_answer(self, timeout_s: float) -> tuple[dict[str, Any], bytearray]:
        deadline_s = time.monotonic() + timeout_s
        header_bytes, payload_bytes = LENGTHS.unpack(self._read(LENGTHS.size, deadline_s))
        header = json.loads(self._read(header_bytes, deadline_s))
        return header, self._read(payload_bytes, deadline_s)

    def _read(self, num_bytes: int, deadline_s: float) -> bytearray:
        data = bytearray(num_bytes)
        view, filled = memoryview(data), 0
        while filled < num_bytes:
            self._socket.settimeout(max(0.001, deadline_s - time.monotonic()))
            count = self._socket.recv_into(view[filled:])
            if count == 0:
                raise EOFError
            filled += count
        return data


class DecoderPool:
    """Child processes that decode images; a context manager. Thread-safe."""

    def __init__(
        self,
        num_workers: int = 2,
        *,
        side_px: int = 384,
        crop_policy: str = "center_square",
        value_scale: ValueScale = FULL_RANGE,
        is_measured: bool = False,
    ) -> None:
        check_crop_policy(crop_policy)
        self.num_workers, self.side_px = num_workers, side_px
        self.crop_policy, self.value_scale, self.is_measured = crop_policy, value_scale, is_measured
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

    def decode(self, source: Source) -> DecodedImage:
        """Decode a path or bytes; raises BadImage."""
        side, scale = self.side_px, self.value_scale.to_dict()
        request = {"probe": False, "side_px": side, "crop_policy": self.crop_policy, "value_scale": scale}
        answer, payload = self._ask(request | {"is_measured": self.is_measured}, source)
        answer |= {"box": tuple(answer["box"]), "notices": tuple(answer["notices"])}
        if self.is_measured:
            from lib.data.photograph_quality import PhotographMeasures  # which imports scipy

            answer["measures"] = PhotographMeasures(**answer["measures"])
        return DecodedImage(np.frombuffer(payload, dtype=np.uint8).reshape(side, side, 3), **answer)

    def probe(self, source: Source) -> ImageHeader:
        """Read the header, the content's SHA-256 and the values of an image of more than 8 bits; raises BadImage."""
        return self._header({"probe": True}, source)

    def glance(self, path: Path) -> ImageHeader:
        """As `probe`, from the first bytes of a file where these say all but the content's SHA-256; raises BadImage."""
        return self._header({"probe": "head"}, path)

    def _header(self, request: dict[str, Any], source: Source) -> ImageHeader:
        return ImageHeader.from_dict(self._ask(request, source)[0])

    def decode_mask(self, source: Source, image: "DecodedImage | StoredFile") -> np.ndarray:
        """Read the mask of an image that was decoded, uint8 (side, side), cut as the image was; raises BadImage."""
        request = {"probe": False, "is_mask": True, "box": image.box, "image_size": (image.width, image.height)}
        _, payload = self._ask(request | {"side_px": self.side_px}, source)
        return np.frombuffer(payload, dtype=np.uint8).reshape(self.side_px, self.side_px)

    def decode_many(self, sources: Sequence[Source]) -> Iterator[tuple[int, DecodedImage | BadImage]]:
        """Yield (index, image or its BadImage) in the order in which they are ready."""
        yield from self._run_many(self.decode, sources)

    def decode_in_order(self, sources: Iterable[Source]) -> Generator[DecodedImage | BadImage, None, None]:
        """Yield each image or its BadImage in the order of the sources; to be closed by who leaves early."""
        # As many as fit into 32 MiB: no worker waits for one slow image, and memory stays flat.
        ahead = max(2, min(8, 2**25 // (3 * self.side_px**2 * self.num_workers)))
        yield from self._run_in_order(self.decode, sources, ahead)

    def glance_in_order(self, paths: Iterable[Path]) -> Generator[ImageHeader | BadImage, None, None]:
        """Yield what `glance` gives of each file, or its BadImage, in the order of the paths."""
        yield from self._run_in_order(self.glance, paths, 16)

    def probe_in_order(self, sources: Iterable[Source]) -> Generator[ImageHeader | BadImage, None, None]:
        """Yield what `probe` gives of each source, or its BadImage, in the order of the sources."""
        yield from self._run_in_order(self.probe, sources, 16)

    def _run_in_order(
        self, work: Callable[[Asked], Result], sources: Iterable[Asked], ahead: int
    ) -> Iterator[Result | BadImage]:
        waiting, running = iter(sources), deque["Future[Result]"]()
        executor = ThreadPoolExecutor(self.num_workers, thread_name_prefix="decoder")
        try:
            while True:
                for source in itertools.islice(waiting, ahead * self.num_workers - len(running)):
                    running.append(executor.submit(work, source))
                if not running:
                    return
                yield _outcome(running.popleft().result)
        finally:
            executor.shutdown(cancel_futures=True)

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
                    yield running.pop(future), _outcome(future.result)
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


def _outcome(result: Callable[[], Result]) -> Result | BadImage:
    """The result or its BadImage; raises any other exception."""
    try:
        return result()
    except BadImage as error:
        return error


def num_decoders(num_files: int) -> int:
    """How many decoder processes an import uses: the cores at hand, at most eight, and one for each hundred files."""
    # To start one costs as much as to decode about a hundred files.
    return max(1, min(8, available_cores(), num_files // 100))


@functools.cache
def _kept_pool() -> DecoderPool:
    pool = DecoderPool(max(2, min(8, available_cores())))
    atexit.register(pool.close)
    return pool


def kept_decoders(
    *, side_px: int, crop_policy: str, value_scale: ValueScale = FULL_RANGE, is_measured: bool = False
) -> DecoderPool:
    """The processes that this process keeps for single files and small batches; nobody closes them before it ends.

    They start at the first call: half a second, which every grading would wait for otherwise.
    """
    check_crop_policy(crop_policy)
    pool = copy.copy(_kept_pool())  # the same child processes
    pool.side_px, pool.crop_policy, pool.value_scale, pool.is_measured = side_px, crop_policy, value_scale, is_measured
    return pool


def decode_one(
    source: Source, *, side_px: int, crop_policy: str = "center_square", value_scale: ValueScale = FULL_RANGE
) -> DecodedImage:
    """Decode a path or bytes in the kept processes; raises BadImage."""
    return kept_decoders(side_px=side_px, crop_policy=crop_policy, value_scale=value_scale).decode(source)
