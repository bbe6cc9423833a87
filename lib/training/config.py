"""One frozen description of a training: what is run, what is stored, what is copied as a command."""

import dataclasses
import re
import shlex
import types
import typing
from dataclasses import dataclass
from typing import Any

from lib.data.augmentation import POLICIES
from lib.data.enhancement import EnhancementChain, parse_chain
from lib.data.target_map import parse_target_map
from lib.errors import UserError
from lib.features.engine import ENGINES
from lib.models.backbone_spec import starting_weights
from lib.models.freezing import BATCHNORM_POLICIES
from lib.models.heads import OUTPUTS
from lib.models.weights import default_backbone
from lib.training.optimization import LOSSES, OPTIMIZERS, SCHEDULES

FORMAT_VERSION = 1
_RANGES: dict[str, tuple[float, float]] = {
    "epochs": (1, 10_000),
    "time_budget_s": (1.0, 604_800.0),
    "batch_size": (1, 4096),
    "learning_rate": (1e-9, 100.0),
    "weight_decay": (0.0, 10.0),
    "momentum": (0.0, 0.999),
    "stage_rate_decay": (0.01, 1.0),
    "label_smoothing": (0.0, 0.9),
    "mixup": (0.0, 10.0),
    "warmup_fraction": (0.0, 0.9),
    "patience": (1, 10_000),
    "unfreeze_every": (1, 1000),
    "num_views": (1, 64),
    "num_neighbors": (1, 1000),
    "input_size_px": (32, 1024),
    "seed": (0, 2**31 - 1),
    "split_seed": (0, 2**31 - 1),
    "num_folds": (2, 20),
    "max_classes": (2, 100_000),
    "max_per_class": (3, 10_000_000),
    "max_train_per_class": (1, 10_000_000),
    "max_test_per_class": (1, 10_000_000),
    "train_fraction": (0.001, 1.0),
    "test_fraction": (0.01, 0.9),
    "val_fraction": (0.01, 0.9),
}
_CHOICES: dict[str, Any] = {  # names, or a table of them
    "optimizer": OPTIMIZERS,
    "schedule": SCHEDULES,
    "loss": LOSSES,
    "batchnorm": BATCHNORM_POLICIES,
    "augmentation": POLICIES,
    "sampling": ("natural", "balanced"),
    "output": OUTPUTS,
    "class_weights": ("auto", "balanced", "none"),
    "dtype": ("auto", "float32", "bfloat16"),
    "engine": ENGINES,
    "pooling": ("average", "flatten", "none", "cls"),
}


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """A complete, JSON-serialisable training description.

    None means "the strategy's or backbone's own default"; `resolve_config` (resolution.py) fills those in before a run
    is stored, so that a stored config never depends on later defaults.
    """

    dataset: str  # name in the data library
    backbone: str = dataclasses.field(default_factory=default_backbone)
    strategy: str = "linear_probe"
    weights: str = "pretrained"  # or "random"; from_scratch always uses "random"
    dataset_version: str = ""
    head: str | None = None
    output: str = "softmax"  # or "sigmoid": one unit for the second of two classes
    feature_stage: str | None = None  # the stage whose pooled output the head reads; "last_vector": see backbones
    pooling: str | None = None  # "average", "flatten", "none", or "cls" of tokens
    unfreeze_from: str | None = None  # partial_finetuning: the first trained stage
    epochs: int | None = None
    time_budget_s: float | None = None  # as many epochs as fit into it, `epochs` at most (estimation/trial_steps.py)
    batch_size: int = 32
    learning_rate: float | None = None
    optimizer: str = "adamw"  # a name of the table in optimization.py
    momentum: float = 0.9  # of SGD and RMSprop
    weight_decay: float = 1e-4  # decoupled for AdamW, L2 for the others
    schedule: str = "cosine"  # a name of the table in optimization.py
    stage_rate_decay: float = 1.0  # learning rate of a stage as a share of that of the next one
    batchnorm: str | None = None  # of trained stages: "trained", "statistics_frozen" or "frozen"
    loss: str = "cross_entropy"  # a name of the table in optimization.py
    label_smoothing: float = 0.0
    mixup: float = 0.0  # alpha of the Beta distribution (Zhang et al. 2018); 0 is off
    warmup_fraction: float = 0.1  # share of all steps with a linearly rising learning rate (Goyal et al. 2017)
    patience: int = 5  # epochs without a better validation loss before training stops
    preprocessing: str = "none"  # steps of the table in lib/data/enhancement.py, such as "brightness+clahe"
    augmentation: str = "flip"  # a name of the table in lib/data/augmentation.py
    num_views: int | None = None  # of a policy with endlessly many: cache that many; None: new ones each epoch
    class_weights: str = "auto"  # balanced if the largest class has over 3 times the smallest; or "balanced", "none"
    sampling: str = "natural"  # or "balanced": each epoch draws every class equally often
    unfreeze_every: int = 1  # gradual_unfreezing: epochs until one more stage is trained
    head_from: str | None = None  # a finished run whose head fine-tuning starts from
    num_neighbors: int = 5
    input_size_px: int | None = None
    seed: int = 0
    split_seed: int = 0
    num_folds: int | None = None
    pinned_images: str | None = None  # ids joined by commas, or "auto": watched after epochs (lib/watched_images.py)
    # Which images take part, and in which shares (lib/data/subset.py); None: all, and the usual fifths.
    max_classes: int | None = None
    max_per_class: int | None = None
    max_train_per_class: int | None = None
    max_test_per_class: int | None = None
    train_fraction: float | None = None  # of the images to train and to validate; the test images stay
    test_fraction: float | None = None
    val_fraction: float | None = None
    target_map: str | None = None  # classes merged into fewer: a name or "0,1,1,1,1" (lib/data/target_map.py)
    recipe: str = ""  # the published experiment that this training repeats, a name of the table in lib/recipes
    compile: bool = False  # torch.compile: minutes at first, then faster steps on a GPU
    device: str = "auto"
    dtype: str = "auto"  # "auto", "float32" or "bfloat16", for frozen features
    engine: str = "auto"  # what computes frozen stages: "auto", "torch" or "onnx" (lib/features/engine.py)
    format_version: int = FORMAT_VERSION

    def __post_init__(self) -> None:
        object.__setattr__(self, "weights", starting_weights(self.weights))
        object.__setattr__(self, "preprocessing", EnhancementChain(parse_chain(self.preprocessing)).text)
        for key, (low, high) in _RANGES.items():
            value = getattr(self, key)
            if value is not None and not low <= value <= high:
                limits = " and ".join(f"{limit:g}" if isinstance(limit, float) else f"{limit}" for limit in (low, high))
                raise UserError(f"The setting {key} must lie between {limits}, received {value}.")
        for key, table in _CHOICES.items():
            value, choices = getattr(self, key), tuple(getattr(table, "names", table))
            if value not in choices and (value is not None or key not in ("pooling", "batchnorm")):
                raise UserError(f"The setting {key} must be one of {', '.join(choices)}, received {value!r}.")
        if self.target_map:
            parse_target_map(self.target_map)
        if self.train_fraction is not None and self.num_folds:
            raise UserError(
                "train_fraction keeps one test set for every number of training images, and num_folds tests all images "
                "in turn; leave out one of the two."
            )
        if self.sampling == "balanced" and self.class_weights == "balanced":
            raise UserError(
                "sampling=balanced and class_weights=balanced would count rare classes twice; choose one of the two."
            )
        if self.engine == "onnx" and self.dtype == "bfloat16":
            raise UserError("The setting engine=onnx computes in float32; leave out dtype=bfloat16, or choose torch.")
        if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", self.device):
            raise UserError(f"The setting device must be auto, cpu, cuda, cuda:N or mps, received {self.device!r}.")

    def to_dict(self) -> dict[str, Any]:
        """A flat dictionary that JSON and MLflow parameters can hold."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> "TrainConfig":
        """Rebuild from `to_dict`; raises UserError on unknown keys or a newer format."""
        if int(content.get("format_version", FORMAT_VERSION)) > FORMAT_VERSION:
            raise UserError(
                f"This config has format {content['format_version']}, newer than {FORMAT_VERSION}; update the program."
            )
        unknown = set(content) - set(_FIELD_TYPES)
        if unknown:
            raise UserError(f"Unknown setting {sorted(unknown)[0]!r}. Known settings: {', '.join(_FIELD_TYPES)}.")
        # Configs of the time before there was a choice go on as they began.
        return cls(**{"engine": "torch", **content})

    def with_settings(self, settings: tuple[str, ...] | list[str]) -> "TrainConfig":
        """Apply `key=value` strings (command line: --set); raises UserError naming key, value and what is expected."""
        changes: dict[str, Any] = {}
        for setting in settings:
            key, separator, text = setting.partition("=")
            if not separator:
                raise UserError(f"--set needs key=value, received {setting!r}; for example --set batch_size=16.")
            if key not in _FIELD_TYPES:
                raise UserError(f"Unknown setting {key!r}. Known settings: {', '.join(_FIELD_TYPES)}.")
            changes[key] = _parse(key, text)
        return dataclasses.replace(self, **changes)

    def to_command(self) -> str:
        """The command line that repeats this training."""
        flags = {
            "dataset": "--dataset", "backbone": "--backbone", "strategy": "--strategy", "weights": "--weights",
            "epochs": "--epochs", "seed": "--seed", "split_seed": "--split-seed", "num_folds": "--folds",
            "time_budget_s": "--time-budget",
        }  # fmt: skip
        words = ["python", "-m", "lib", "train"]
        for key, value in self._changed().items():
            words += [flags[key], str(value)] if key in flags else ["--set", f"{key}={value}"]
        return shlex.join(words)

    def to_python(self) -> str:
        """The three lines of Python that repeat this training."""
        arguments = ", ".join(f"{key}={value!r}" for key, value in self._changed().items())
        return (
            "from lib.experiment import train\nfrom lib.training.config import TrainConfig\n"
            f"summary = train(TrainConfig({arguments}))"
        )

    def _changed(self) -> dict[str, Any]:
        always = ("dataset", "backbone", "strategy", "weights")
        never = ("dataset_version", "format_version")
        return {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name in always or (field.name not in never and getattr(self, field.name) != field.default)
        }


_FIELD_TYPES: dict[str, Any] = typing.get_type_hints(TrainConfig)
_SWITCHES = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def _parse(key: str, text: str) -> Any:
    kind = _FIELD_TYPES[key]
    choices = [part for part in typing.get_args(kind) if part is not type(None)] or [kind]
    is_optional = isinstance(kind, types.UnionType)
    if is_optional and text.lower() in {"none", ""}:
        return None
    if choices[0] is bool:
        if text.lower() not in _SWITCHES:
            raise UserError(f"The setting {key} must be true or false, received {text!r}.")
        return _SWITCHES[text.lower()]
    try:
        return choices[0](text)
    except ValueError:
        raise UserError(f"The setting {key} needs a value of type {choices[0].__name__}, received {text!r}.") from None
