"""Ranks by themselves and on a board in memory; what they compute together is in tests/training/test_parallel.py."""

import os
import signal
import threading
import time

import numpy as np
import psutil
import pytest
import torch

from lib import distributed
from lib.distributed import ALONE, Ranks, ending_on_signal, is_launched, is_peer_lost, joined, launch_key, restart_count
from lib.errors import Stopped, UserError

LAUNCHED = {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}


class Board(dict):
    """The rendezvous's store, as far as ranks use it."""

    def set(self, key: str, value: str) -> None:
        self[key] = value

    def check(self, keys: list[str]) -> bool:
        return all(key in self for key in keys)


@pytest.fixture(autouse=True)
def _unlaunched(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*LAUNCHED, "TORCHELASTIC_RUN_ID", "TORCHELASTIC_RESTART_COUNT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(distributed, "_POLL_S", (0.001, 0.002))


def launch(monkeypatch: pytest.MonkeyPatch, **changes: str) -> None:
    for name, value in (LAUNCHED | changes).items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(("num_rows", "size"), [(9, 2), (2, 3), (0, 2), (7, 7)])
def test_shares_are_all_rows_once_in_order_and_nearly_equal(num_rows: int, size: int) -> None:
    shares = [Ranks(rank, size).share(np.arange(num_rows)) for rank in range(size)]
    assert np.concatenate(shares).tolist() == list(range(num_rows))
    assert np.ptp([len(one) for one in shares]) <= 1


def test_a_process_on_its_own_asks_nobody() -> None:
    part = torch.ones(2, 3)
    assert (ALONE.is_alone, ALONE.is_first, ALONE.is_over()) == (True, True, False)
    assert ALONE.total(1, 2.5) == [1, 2.5]
    assert ALONE.from_first(part) is part
    assert ALONE.gathered(part) is part
    ALONE.announce("to nobody")  # has no board to write on


def test_messages_are_heard_in_order_by_every_rank() -> None:
    board = Board()
    first, others = Ranks(0, 3, board=board), [Ranks(rank, 3, board=board) for rank in (1, 2)]
    first.announce({"next": "a"})
    others[0].announce("not the first: says nothing")
    first.announce(None)
    for other in others:
        assert [other.hear(), other.hear()] == [{"next": "a"}, None]
    late = threading.Timer(0.02, first.announce, args=("late",))
    late.start()
    assert others[1].hear() == "late"
    late.join()


def test_who_waits_hears_that_all_is_over() -> None:
    board = Board(over="1", **{"said/0": '"last words"'})
    rank = Ranks(1, 2, board=board)
    assert rank.hear() == "last words"  # what was said before the end is not lost
    with pytest.raises(Stopped, match="The training is over"):
        rank.hear()
    with pytest.raises(Stopped):
        Ranks(1, 2, board=Board(), is_signalled=True).hear()


def test_a_launch_is_known_by_all_its_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    launch(monkeypatch)
    assert is_launched()
    monkeypatch.delenv("MASTER_PORT")
    assert not is_launched()
    assert launch_key() == ""


def test_attempts_of_one_launch_have_one_key(monkeypatch: pytest.MonkeyPatch) -> None:
    launch(monkeypatch, TORCHELASTIC_RUN_ID="given", TORCHELASTIC_RESTART_COUNT="2")
    assert (launch_key(), restart_count()) == ("given", 2)
    # Without --rdzv-id torchrun says "none": then it is torchrun's own process, and not only its number.
    launch(monkeypatch, TORCHELASTIC_RUN_ID="none", TORCHELASTIC_RESTART_COUNT="x")
    parent = psutil.Process(os.getppid())
    assert (launch_key(), restart_count()) == (f"{parent.pid}-{parent.create_time()}", 0)


def test_a_launch_of_one_forms_no_group(monkeypatch: pytest.MonkeyPatch) -> None:
    launch(monkeypatch)
    with joined() as ranks:
        assert ranks.is_alone
        assert not torch.distributed.is_initialized()


def test_others_that_cannot_be_reached_are_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def rendezvous(_: str) -> None:
        raise RuntimeError("timed out\nframe #0: c10d")

    launch(monkeypatch, WORLD_SIZE="2")
    monkeypatch.setattr(torch.distributed, "rendezvous", rendezvous)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    wanted = r"^The other processes of this training cannot be reached \(timed out\).$"
    with pytest.raises(UserError, match=wanted), joined():
        pass


def test_a_signal_ends_a_rank_at_the_next_common_point(monkeypatch: pytest.MonkeyPatch) -> None:
    started, left = [], []

    class Timer:
        def __init__(self, seconds: float, ending, args: tuple) -> None:
            left.append((seconds, ending, args))

        def start(self) -> None:
            started.append(self.daemon)

    monkeypatch.setattr(distributed.threading, "Timer", Timer)
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)]
    ranks = Ranks(1, 2, board=Board())
    with ending_on_signal(ranks):
        assert not ranks.is_over()
        for number in (signal.SIGTERM, signal.SIGINT):  # Ctrl-C, and torchrun's own: one hard end is enough
            os.kill(os.getpid(), number)
            time.sleep(0)
        assert ranks.is_over()
    assert left == [(5.0, os._exit, (1,))]
    assert started == [True]
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)] == before


@pytest.mark.parametrize(
    ("error", "is_lost"),
    [
        (RuntimeError("[gloo/transport/tcp/pair.cc] Connection closed by peer"), True),
        (RuntimeError("NCCL error in: ..."), True),
        (RuntimeError("Timed out waiting 1800000ms for recv"), True),
        (RuntimeError("CUDA out of memory"), False),
        (ConnectionResetError("connection reset"), False),  # of a download, say
        (UserError("broken pipe"), False),
    ],
)
def test_the_loss_of_another_process_is_told_by_its_words(error: Exception, is_lost: bool) -> None:
    assert is_peer_lost(error) is is_lost
