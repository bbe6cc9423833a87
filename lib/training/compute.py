"""Where and in which number formats a run computes."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from lib.atomic import read_json, write_json
from lib.distributed import ALONE, Ranks
from lib.number_format import choose_dtype
from lib.runtime import pick_device, set_seed, set_threads
from lib.training.config import TrainConfig


@dataclass(frozen=True)
class Compute:
    """Device, number formats and threads."""

    device: str = "cpu"
    dtype: str = "float32"  # frozen stages
    training_dtype: str = "float32"  # trained stages
    num_threads: int = 1


def choose_compute(config: TrainConfig, path: Path, ranks: Ranks = ALONE) -> Compute:
    """Choose as the config says, seed the generators, and keep the choice in the file `path`.

    A resumed run reads its number formats from there, so that it goes on as it began.
    """
    set_seed(config.seed)
    num_threads, device = set_threads(), device_of(config.device, ranks)
    if path.is_file():
        kept = read_json(path)
        return Compute(device, kept["dtype"], kept["training_dtype"], num_threads)
    is_auto = config.dtype == "auto"
    dtype = choose_dtype(device)[0] if is_auto else config.dtype
    training_dtype = choose_dtype(device, "training")[0] if is_auto else config.dtype
    compute = Compute(device, dtype, training_dtype, num_threads)
    write_json(path, dataclasses.asdict(compute))
    return compute


def device_of(asked: str, ranks: Ranks) -> str:
    """The device of this process; of several ranks each one has a GPU of its own, or all share the CPU.

    torch.distributed knows no Apple GPU, so ranks there compute on the CPU.
    """
    device = pick_device(asked)
    if ranks.is_alone or device == "cpu":
        return device
    return f"cuda:{ranks.local_rank}" if device.startswith("cuda") else "cpu"


def follow_compute(chosen: Compute, config: TrainConfig, ranks: Ranks) -> Compute:
    """What the first rank chose, on this rank's own device."""
    set_seed(config.seed)
    return dataclasses.replace(chosen, device=device_of(config.device, ranks), num_threads=set_threads())
