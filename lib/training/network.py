"""The network of a config as it stands before training, and which part of it is trained."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lib.atomic import read_json, write_json
from lib.distributed import ALONE, Ranks
from lib.features.engine import DEFAULT_BATCH, FrozenPart, choose_engine
from lib.models.backbones import BACKBONES
from lib.models.freezing import apply_freezing
from lib.models.heads import HEADS
from lib.precision import choose_dtype
from lib.runtime import pick_device, set_seed, set_threads
from lib.training.config import TrainConfig
from lib.training.events import Listener, NetworkBuilt, PhaseStarted, ShouldStop, ignore_events, never_stop
from lib.training.strategies import STRATEGIES

if TYPE_CHECKING:
    from lib.models.classifier import Classifier
    from lib.models.stages import Backbone


def untrained_classifier(config: TrainConfig, *, num_classes: int) -> "Classifier":
    """The network before training, on the CPU, its stages frozen as the strategy says."""
    from lib.models.classifier import build_classifier

    classifier = build_classifier(
        _new_backbone(config),
        head=config.head or STRATEGIES.get(config.strategy).default_head,
        num_classes=num_classes,
        feature_stage=config.feature_stage,
        pooling=config.pooling,
        seed=config.seed,
        input_size_px=config.input_size_px,
        output=config.output,
        **_head_options(config),
    )
    apply_freezing(
        classifier,
        trains_backbone=trained_part(config),
        unfreeze_from=config.unfreeze_from,
        batchnorm=config.batchnorm,
    )
    return classifier


def head_alone(config: TrainConfig, *, num_classes: int) -> "Classifier | None":
    """The head of a resolved config that is fitted in one go on published features; None for any other training."""
    from lib.models.classifier import build_head_alone

    strategy, spec = STRATEGIES.get(config.strategy), BACKBONES.get(config.backbone)
    if strategy.is_iterative or strategy.trains_backbone != "none":
        return None
    if config.weights != "pretrained" or not spec.has_weights:
        return None
    return build_head_alone(
        spec, head=config.head or strategy.default_head, num_classes=num_classes, feature_stage=config.feature_stage,
        pooling=config.pooling, seed=config.seed, **_head_options(config),
    )  # fmt: skip


def _head_options(config: TrainConfig) -> dict[str, float]:
    keeps_samples = config.head is not None and HEADS.get(config.head).keeps_samples
    return {"num_neighbors": config.num_neighbors} if keeps_samples else {}


def trained_part(config: TrainConfig) -> str:
    """What is trained at some time: gradual unfreezing may end at a stage as partial fine-tuning begins at one."""
    strategy = STRATEGIES.get(config.strategy)
    is_partial = strategy.unfreezes_gradually and bool(config.unfreeze_from)
    return "partial" if is_partial else strategy.trains_backbone


def last_frozen_stage(config: TrainConfig) -> str | None:
    """The last stage that a resolved config never trains; None where training reaches down to the first one."""
    part, names = trained_part(config), BACKBONES.get(config.backbone).stage_names
    if part == "none":
        return config.feature_stage
    index = names.index(str(config.unfreeze_from)) if part == "partial" else 0
    return names[index - 1] if index else None


def network_built(classifier: "Classifier") -> NetworkBuilt:
    """The event that tells a network's number of parameters."""
    counts = [(parameter.numel(), parameter.requires_grad) for parameter in classifier.parameters()]
    num_all = sum(count for count, _ in counts)
    if classifier.is_head_alone:
        num_all += sum(stage.num_parameters for stage in classifier.stage_specs[:-1])
    return NetworkBuilt(sum(count for count, is_trained in counts if is_trained), num_all)


def _new_backbone(config: TrainConfig) -> "Backbone":
    from lib.features.frozen_stages import frozen_backbone
    from lib.models.stages import build_backbone

    strategy = STRATEGIES.get(config.strategy)
    # Where a head first reads the frozen network, random weights need fitting BatchNorm statistics.
    is_read_frozen = strategy.starts_from_probe or strategy.unfreezes_gradually
    is_trained = strategy.trains_backbone == "all" and not is_read_frozen
    build: Callable[..., Backbone] = build_backbone if is_trained else frozen_backbone
    return build(config.backbone, weights=config.weights, seed=config.seed)


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


def choose_compute(
    config: TrainConfig,
    path: Path,
    ranks: Ranks = ALONE,
    *,
    num_images: int = 0,
    listener: Listener = ignore_events,
    should_stop: ShouldStop = never_stop,
) -> Compute:
    """Choose as the config says, seed the generators, and keep the choice in the file `path`.

    A resumed run reads its number formats and its engine from there, so that it goes on as it began; a run of before
    there was an engine to choose goes on by torch. `num_images` take part: a trial of engines must pay for them.
    `listener` hears of the trial. Raises Stopped where `should_stop()` turns true during it.
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
    told: list[str] = []

    def progress(done: int, total: int, what: str) -> None:
        if what not in told:
            told.append(what)
            listener(PhaseStarted(what[:1].upper() + what[1:]))

    engine = choose_engine(
        _frozen_part(config, dtype), asked="torch" if config.dtype == "bfloat16" else config.engine, device=device,
        num_images=num_images, progress=progress, should_stop=should_stop,
    )  # fmt: skip
    if config.dtype == "bfloat16":
        engine = dataclasses.replace(engine, reason="bfloat16 is asked for")
    if engine.name == "onnx":
        dtype = "float32"
    compute = Compute(device, dtype, training_dtype, num_threads, engine.name, engine.batch_size, engine.reason)
    write_json(path, dataclasses.asdict(compute))
    return compute


def _frozen_part(config: TrainConfig, dtype: str) -> FrozenPart | None:
    """The stages that are frozen as long as features are read; None where all are trained from the start."""
    is_probed = STRATEGIES.get(config.strategy).starts_from_probe
    stage = config.feature_stage if is_probed else last_frozen_stage(config)
    if stage is None:
        return None
    size_px = config.input_size_px or BACKBONES.get(config.backbone).input_size_px
    return FrozenPart(config.backbone, config.weights, config.seed, stage, size_px, dtype)


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
