"""Random weights that depend on a seed alone, whatever else draws random numbers in this process."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

# torch's initialisers draw from one generator per process; two threads that build networks would share it.
_LOCK = threading.Lock()


@contextmanager
def seeded_initialization(seed: int) -> Iterator[None]:
    """Seed torch's CPU generator for the block and give it back as it was."""
    with _LOCK, torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(seed)
        yield
