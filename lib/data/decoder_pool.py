"""Decodes untrusted images in child processes (decode_worker.py), many at a time."""

import atexit
import itertools
import os
import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from lib.data.decode_worker import DecodeWorker
from lib.data.images import DecodedImage, ImageHeader
from lib.data.specs import check_crop_policy
from lib.data.value_scale import FULL_RANGE, ValueRange, ValueScale
from lib.errors import BadImage

Source = Path | str | bytes
Result = TypeVar("Result")


class DecoderPool:
    """Child processes that decode images; a context manager. Thread-safe."""

    def __init__(
        self,
        num_workers: int = 2,
        *,
        side_px: int = 384,
        crop_policy: str = "center_square",
        value_scale: ValueScale = FULL_RANGE,
    ) -> None:
        check_crop_policy(crop_policy)
        self.num_workers = num_workers
        self.side_px = side_px
        self.crop_policy = crop_policy
        self.value_scale = value_scale
        self._workers = [DecodeWorker() for _ in range(num_workers)]
        self._idle: queue.LifoQueue[DecodeWorker] = queue.LifoQueue()
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

    def decode(
        self,
        source: Source,
        *,
        side_px: int | None = None,
        crop_policy: str | None = None,
        value_scale: ValueScale | None = None,
    ) -> DecodedImage:
        """Decode a path or bytes; raises BadImage."""
        side, scale = side_px or self.side_px, value_scale or self.value_scale
        request = {"probe": False, "side_px": side, "crop_policy": crop_policy or self.crop_policy}
        request["value_scale"] = scale.to_dict()
        answer, payload = self._ask(request, source)
        pixels = np.frombuffer(payload, dtype=np.uint8).reshape(side, side, 3)
        box: Any = tuple(answer["box"])
        notices = tuple(answer["notices"])
        return DecodedImage(pixels, answer["width"], answer["height"], box, notices, answer["sha256"])

    def probe(self, source: Source) -> ImageHeader:
        """Read the header, the content's SHA-256 and the values of an image of more than 8 bits; raises BadImage."""
        answer, _ = self._ask({"probe": True}, source)
        values = answer.pop("values", None)
        return ImageHeader(**answer, values=ValueRange(**values) if values else None)

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


_shared: DecoderPool | None = None
_shared_lock = threading.Lock()


def decode_one(
    source: Source, *, side_px: int, crop_policy: str = "center_square", value_scale: ValueScale = FULL_RANGE
) -> DecodedImage:
    """Decode a path or bytes in the process-wide pool, which is made at the first call; raises BadImage."""
    global _shared  # noqa: PLW0603  (one pool a process is the point)
    with _shared_lock:
        if _shared is None:
            _shared = DecoderPool()
            atexit.register(_shared.close)
    check_crop_policy(crop_policy)
    return _shared.decode(source, side_px=side_px, crop_policy=crop_policy, value_scale=value_scale)
