"""Where and in which number formats a run computes."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from lib.atomic import read_json, write_json
from lib.distributed import ALONE, Ranks
from lib.features.engine import DEFAULT_BATCH, EngineChoice, FrozenPart, choose_engine
from lib.models.backbones import BACKBONES
from lib.number_format import choose_dtype
from lib.runtime import pick_device, set_seed, set_threads
from lib.training.config import TrainConfig
from lib.training.network import last_frozen_stage
from lib.training.strategies import STRATEGIES


@dataclass(frozen=True)
class Compute:
    """Device, number formats and threads."""

    device: str = "cpu"
    dtype: str = "float32"  # frozen stages
    training_dtype: str = "float32"  # trained stages
    num_threads: int = 1
    engine: str = "torch"  # of frozen stages, with the images of a batch and why it was chosen
    engine_batch_size: int = DEFAULT_BATCH
    engine_reason: str = ""


def choose_compute(config: TrainConfig, path: Path, ranks: Ranks = ALONE, *, num_images: int = 0) -> Compute:
    """Choose as the config says, seed the generators, and keep the choice in the file `path`.

    A resumed run reads its number formats and its engine from there, so that it goes on as it began; a run of before
    there was an engine to choose goes on by torch. `num_images` take part: a trial of engines must pay for them.
    """
    set_seed(config.seed)
    num_threads, device = set_threads(), device_of(config.device, ranks)
    if path.is_file():
        kept = read_json(path)
        stored = {key: kept[key] for key in ("engine", "engine_batch_size", "engine_reason") if key in kept}
        return Compute(device, kept["dtype"], kept["training_dtype"], num_threads, **stored)
    is_auto = config.dtype == "auto"
    dtype = choose_dtype(device)[0] if is_auto else config.dtype
    training_dtype = choose_dtype(device, "training")[0] if is_auto else config.dtype
    engine = _engine(config, device, dtype, num_images)
    if engine.name == "onnx":
        dtype = "float32"
    compute = Compute(device, dtype, training_dtype, num_threads, engine.name, engine.batch_size, engine.reason)
    write_json(path, dataclasses.asdict(compute))
    return compute


def _engine(config: TrainConfig, device: str, dtype: str, num_images: int) -> EngineChoice:
    if config.dtype == "bfloat16":
        return EngineChoice(reason="bfloat16 is asked for")
    spec, stage = BACKBONES.get(config.backbone), last_frozen_stage(config)
    if STRATEGIES.get(config.strategy).starts_from_probe:
        stage = config.feature_stage or spec.feature_stage
    part = None
    if stage is not None:
        size_px = config.input_size_px or spec.input_size_px
        part = FrozenPart(config.backbone, config.weights, config.seed, stage, size_px, dtype)
    return choose_engine(part, asked=config.engine, device=device, num_images=num_images)


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
