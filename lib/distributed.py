"""Several processes that train one network, as `torchrun` starts them: who is who, and what they tell each other.

Everything that moves tensors is torch.distributed. Two ways to talk: collectives, in which all ranks take part at the
same point of a training, and the board (the store of the rendezvous), on which the first rank writes what comes next
and the others wait for it as long as it takes (an import, a place in the queue), whatever the time limit of a
collective is.
"""

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from lib.errors import Stopped, UserError

if TYPE_CHECKING:
    import torch

# A rank waits that long for the others within a step; one that has died is noticed by torchrun at once.
COLLECTIVE_TIMEOUT = timedelta(minutes=30)
_VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
_OVER = "over"
_POLL_S = (0.02, 0.5)
_HARD_EXIT_S = 5.0  # after a signal, for a rank that hangs in a collective


@dataclass(eq=False)
class Ranks:
    """This process among those that train together; `Ranks()` is a process on its own, which asks nobody.

    `rank` counts from 0 over all machines, `local_rank` on this one; `size` is the number of processes.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    board: Any = None
    is_signalled: bool = False
    _num_heard: int = field(default=0, repr=False)

    @property
    def is_first(self) -> bool:
        """Whether this process holds the lease, the run and the output."""
        return self.rank == 0

    @property
    def is_alone(self) -> bool:
        """Whether there are no others."""
        return self.size == 1

    def share(self, rows: np.ndarray) -> np.ndarray:
        """This rank's part of rows, in order and without padding: sizes differ by one at most, some may be empty."""
        return np.array_split(rows, self.size)[self.rank]

    def total(self, *values: float) -> list[float]:
        """Sums of numbers over all ranks, the same on each; a collective."""
        if self.is_alone:
            return list(values)
        import torch
        import torch.distributed

        sums = torch.tensor(values, dtype=torch.float64)
        torch.distributed.all_reduce(sums)
        return [float(value) for value in sums]

    def from_first(self, content: Any) -> Any:
        """What the first rank passes here, on every rank; a collective."""
        if self.is_alone:
            return content
        import torch.distributed

        box = [content if self.is_first else None]
        torch.distributed.broadcast_object_list(box, src=0)
        return box[0]

    def gathered(self, part: "torch.Tensor | None") -> "torch.Tensor":
        """The parts (n_r, ...) of all ranks, None where there is nothing, in one piece on every rank; a collective."""
        if self.is_alone and part is not None:
            return part
        import torch
        import torch.distributed

        parts: list[Any] = [None] * self.size
        torch.distributed.all_gather_object(parts, part)
        return torch.cat([one for one in parts if one is not None])

    def announce(self, content: Any) -> None:
        """Write the next message (plain values) on the board; does nothing on other ranks than the first."""
        if not self.is_alone and self.is_first:
            self.board.set(f"said/{self._num_heard}", json.dumps(content))
            self._num_heard += 1

    def hear(self) -> Any:
        """Wait for the next message of the first rank; raises Stopped where there will be none."""
        key = f"said/{self._num_heard}"
        self.wait_until(lambda: self.board.check([key]))
        self._num_heard += 1
        return json.loads(self.board.get(key))

    def is_over(self) -> bool:
        """Whether the first rank has said so, or a signal asked this process to end."""
        return self.is_signalled or (self.board is not None and bool(self.board.check([_OVER])))

    def wait_until(self, is_reached: Callable[[], bool]) -> None:
        """Look again and again, more and more seldom; raises Stopped once all is over."""
        pause, longest = _POLL_S
        while not is_reached():
            if self.is_over():
                raise Stopped("The training is over.")
            time.sleep(pause)
            pause = min(pause * 1.5, longest)


ALONE = Ranks()


def is_launched() -> bool:
    """Whether `torchrun`, or another launcher with its variables, started this process."""
    return all(name in os.environ for name in _VARIABLES)


def launch_key() -> str:
    """What all attempts of one launch have in common: --rdzv-id, else torchrun's own process; "" if not launched."""
    if not is_launched():
        return ""
    given = os.environ.get("TORCHELASTIC_RUN_ID", "none")
    if given != "none":
        return given
    import psutil

    parent = psutil.Process(os.getppid())
    return f"{parent.pid}-{parent.create_time()}"


def restart_count() -> int:
    """How often torchrun has started these processes anew."""
    count = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    return int(count) if count.isdecimal() else 0


@contextmanager
def joined() -> Iterator[Ranks]:
    """Join the other processes of the launch; a launch of one process is `Ranks()` without any group.

    CUDA tensors travel by NCCL, everything else by gloo.

    Raises:
        UserError: the others cannot be reached.
    """
    size = int(os.environ["WORLD_SIZE"])
    if size == 1:
        yield Ranks()
        return
    import torch
    from torch import distributed

    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    if torch.cuda.is_available():
        torch.cuda.set_device(local_rank % torch.cuda.device_count())
    try:
        store, rank, size = next(distributed.rendezvous("env://"))
        distributed.init_process_group(
            "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo",
            # torchrun keeps one store over its restarts, with the addresses of processes that are gone.
            store=distributed.PrefixStore(f"group/{restart_count()}", store),
            rank=rank,
            world_size=size,
            timeout=COLLECTIVE_TIMEOUT,
        )
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"The other processes of this training cannot be reached ({reason}).") from None
    ranks = Ranks(rank, size, local_rank, distributed.PrefixStore(f"board/{restart_count()}", store))
    try:
        yield ranks
    finally:
        if ranks.is_first:
            ranks.board.set(_OVER, "1")
        distributed.destroy_process_group()


@contextmanager
def ending_on_signal(ranks: Ranks) -> Iterator[None]:
    """Let a signal end this rank at the next common point; the first rank has its own watchdog.

    Ctrl-C reaches all processes of a terminal at once, and torchrun sends SIGTERM to all: a rank that died on the spot
    would leave the first one waiting in a collective, without its last checkpoint.
    """

    def on_signal(number: int, frame: Any) -> None:
        if not ranks.is_signalled:
            ranks.is_signalled = True
            timer = threading.Timer(_HARD_EXIT_S, os._exit, args=(1,))
            timer.daemon = True
            timer.start()

    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = {number: signal.signal(number, on_signal) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def is_peer_lost(error: BaseException) -> bool:
    """Whether an exception of a collective says that another process is gone; only its words tell."""
    words = str(error).lower()
    signs = ("connection closed by peer", "connection reset", "broken pipe", "nccl", "timed out waiting", "gloo")
    return isinstance(error, RuntimeError) and any(sign in words for sign in signs)
