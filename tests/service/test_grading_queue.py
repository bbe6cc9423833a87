"""Places are bounded and given back, work is done in its order, and what nobody waits for is ended."""

import asyncio
import threading

import pytest
from fastapi import HTTPException

from lib.errors import Stopped, UserError
from lib.service import grading_queue
from lib.service.grading_queue import GradingQueue
from lib.service.metrics import ServiceMetrics


class Client:
    """Stands in for the request of a client who stays, or leaves at once."""

    def __init__(self, *, leaves: bool = False) -> None:
        self.leaves = leaves

    async def is_disconnected(self) -> bool:
        return self.leaves


@pytest.fixture
def metrics():
    return ServiceMetrics()


@pytest.fixture
def queue(metrics, monkeypatch):
    monkeypatch.setattr(grading_queue, "_LISTEN_S", 0.01)
    made = GradingQueue(2, metrics)
    yield made
    made.close()


def test_more_than_its_places_are_refused_and_a_place_is_free_again_after_an_error(queue, metrics):
    with queue.place():
        with pytest.raises(UserError), queue.place():
            assert b"transferscope_waiting 2.0" in metrics.text()
            with pytest.raises(HTTPException) as refused, queue.place():
                pass
            raise UserError("The body is broken.")
        assert b"transferscope_waiting 1.0" in metrics.text()
        with queue.place():
            pass
    assert b"transferscope_waiting 0.0" in metrics.text()
    assert (refused.value.status_code, refused.value.headers) == (429, {"Retry-After": "2"})
    assert refused.value.detail == "The service has 2 gradings to do; try again in 2 s."


def test_work_is_done_one_after_the_other_in_the_order_in_which_it_came(queue):
    begun: list[str] = []

    def work(name):
        def do(go_on):
            begun.append(f"{name} in {threading.current_thread().name}")
            go_on()
            return name

        return do

    async def ask():
        return await asyncio.gather(*(queue.run(Client(), work(name)) for name in "abc"))

    assert asyncio.run(ask()) == ["a", "b", "c"]
    assert begun == [f"{name} in grading_0" for name in "abc"]


def test_an_error_of_the_work_reaches_who_asked_and_the_next_is_done(queue):
    def fail(go_on):
        raise UserError("Wrong.")

    with pytest.raises(UserError, match="Wrong"):
        asyncio.run(queue.run(Client(), fail))
    assert asyncio.run(queue.run(Client(), lambda go_on: 7)) == 7


def test_work_that_nobody_waits_for_ends_at_its_next_look(queue):
    looks = 0

    def work(go_on):
        nonlocal looks
        while looks < 1000:
            go_on()
            looks += 1
            threading.Event().wait(0.005)

    with pytest.raises(Stopped):
        asyncio.run(queue.run(Client(leaves=True), work))
    assert looks < 1000


def test_at_the_end_what_runs_and_what_still_waits_are_stopped_alike(queue):
    is_running, done = threading.Event(), []

    def long(go_on):
        is_running.set()
        for _ in range(1000):
            go_on()
            threading.Event().wait(0.005)

    async def ask():
        asked = [asyncio.ensure_future(queue.run(Client(), work)) for work in (long, lambda go_on: done.append(1))]
        while not is_running.is_set():
            await asyncio.sleep(0.005)
        queue.close()
        return await asyncio.gather(*asked, return_exceptions=True)

    assert [type(found) for found in asyncio.run(ask())] == [Stopped, Stopped]
    assert done == []
