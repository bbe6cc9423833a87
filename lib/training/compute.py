"""Where and in which number formats a run computes."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from lib.atomic import read_json, write_json
from lib.runtime import choose_dtype, pick_device, set_seed, set_threads
from lib.training.config import TrainConfig


@dataclass(frozen=True)
class Compute:
    """Device, number formats and threads."""

    device: str = "cpu"
    dtype: str = "float32"  # frozen stages
    training_dtype: str = "float32"  # trained stages
    num_threads: int = 1


def choose_compute(config: TrainConfig, path: Path) -> Compute:
    """Choose as the config says, seed the generators, and keep the choice in the file `path`.

    A resumed run reads its number formats from there, so that it goes on as it began.
    """
    set_seed(config.seed)
    num_threads, device = set_threads(), pick_device(config.device)
    if path.is_file():
        kept = read_json(path)
        return Compute(device, kept["dtype"], kept["training_dtype"], num_threads)
    is_auto = config.dtype == "auto"
    dtype = choose_dtype(device)[0] if is_auto else config.dtype
    training_dtype = choose_dtype(device, "training")[0] if is_auto else config.dtype
    compute = Compute(device, dtype, training_dtype, num_threads)
    write_json(path, dataclasses.asdict(compute))
    return compute
