"""One thread that grades, and a bounded number of requests before it: the service answers `health` meanwhile."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from fastapi import HTTPException
from starlette.requests import Request

from lib.errors import Stopped
from lib.service.metrics import ServiceMetrics

Result = TypeVar("Result")
_RETRY_AFTER_S = 2
_LISTEN_S = 0.5


class GradingQueue:
    """Work is done one after the other, in the order in which it came."""

    def __init__(self, max_waiting: int, metrics: ServiceMetrics) -> None:
        self._max_waiting, self._metrics = max_waiting, metrics
        self._taken, self._lock = 0, threading.Lock()
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="grading")
        self._closed = threading.Event()

    @contextmanager
    def place(self) -> Iterator[None]:
        """A place in the queue, to be had before a body is read, so that memory stays bounded.

        Raises:
            HTTPException: 429, all places are taken.
        """
        with self._lock:
            if self._taken >= self._max_waiting:
                sentence = f"The service has {self._max_waiting} gradings to do; try again in {_RETRY_AFTER_S} s."
                raise HTTPException(429, sentence, {"Retry-After": str(_RETRY_AFTER_S)})
            self._taken += 1
            self._metrics.waiting.inc()
        try:
            yield
        finally:
            with self._lock:
                self._taken -= 1
                self._metrics.waiting.dec()

    def submit(self, work: Callable[[], Result]) -> Future[Result]:
        """Work that nobody waits for."""
        return self._executor.submit(work)

    async def run(self, request: Request, work: Callable[[Callable[[], None]], Result]) -> Result:
        """Do work in the thread; it gets a function to call now and then, which ends it where nobody waits any more.

        Raises:
            Stopped: the client went away, or the service ends.
        """
        is_left = threading.Event()

        def go_on() -> None:
            if is_left.is_set() or self._closed.is_set():
                raise Stopped

        def guarded() -> Result:
            go_on()
            return work(go_on)

        running = asyncio.wrap_future(self._executor.submit(guarded))
        while not running.done():
            await asyncio.wait({running}, timeout=_LISTEN_S)
            if not running.done() and await request.is_disconnected():
                is_left.set()
        if running.cancelled():  # it still waited when the service ended
            raise Stopped
        return running.result()

    def close(self) -> None:
        """End what runs at its next image, and drop what waits."""
        self._closed.set()
        self._executor.shutdown(wait=False, cancel_futures=True)
