"""Decoder processes are kept from test to test: to start one costs more than all that a test decodes."""

import queue
from collections.abc import Iterator

import pytest

from lib.data.decoder_pool import DecoderPool

_kept: list = []


@pytest.fixture(scope="session", autouse=True)
def _kept_decoders() -> Iterator[None]:
    yield
    for worker in _kept:
        worker.close()


@pytest.fixture(autouse=True)
def _reused_decoders(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    if request.path.name == "test_decoder_pool.py":
        return
    start = DecoderPool.__init__

    def take(self, num_workers: int = 2, **options) -> None:
        start(self, num_workers, **options)
        taken = [_kept.pop() for _ in range(min(num_workers, len(_kept)))]
        self._workers[: len(taken)] = taken
        self._idle = queue.LifoQueue()
        for worker in self._workers:
            self._idle.put(worker)

    monkeypatch.setattr(DecoderPool, "__init__", take)
    monkeypatch.setattr(DecoderPool, "close", lambda self: _kept.extend(self._workers))
