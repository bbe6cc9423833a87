"""What a training will take, before it starts: seconds, memory, disk and parameters, and where that is kept.

This is the front of the folder: `estimate_training` measures by estimator.py, which tries steps (trial_steps.py) and
plans what the cache will hold; a time budget becomes epochs by the same trial steps.
Pages read kept estimates from here, without torch.
"""

import dataclasses
import importlib.metadata
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib.atomic import digest_of
from lib.progress import Progress, ignore_progress
from lib.settings import cache_dir
from lib.training.config import TrainConfig
from lib.training.events import ShouldStop, never_stop
from lib.training.protocols import Dataset

if TYPE_CHECKING:
    from lib.training.network import Compute

FORMAT_VERSION = 3


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Seconds, MiB and parameters of a training that has not begun.

    `stages` has one (stage, title, parameters, is_trained) each, the head last. `seconds_start` was this process's own
    way to the first step; `seconds_preprocessing` and `seconds_features` are 0.0 where all preprocessed images and all
    features are in the cache. `peak_rss_mib` is what the measuring process held at its most, with the features that a
    training keeps in memory and `mapped_mib` of files that it maps: those parts give way where memory is short.
    `device_mib` is the same of a GPU, 0.0 without one. `cache_mib` is what the cache (preprocessed images and frozen
    features) still has to write, and `cache_why` says of what, or why there is none. `epochs` is 0 for a head that is
    fitted in one go.
    """

    stages: list[tuple[str, str, int, bool]]
    epochs: int
    num_steps_measured: int
    step_s: float
    epoch_s: float
    seconds_start: float
    seconds_features: float
    seconds_training: float
    seconds_evaluation: float
    peak_rss_mib: float
    device_mib: float
    device: str
    num_images: int
    cache_mib: float = 0.0
    cache_why: str = ""
    seconds_preprocessing: float = 0.0
    mapped_mib: float = 0.0
    format_version: int = FORMAT_VERSION

    @property
    def seconds_total(self) -> float:
        """From the click to the result."""
        prepared_s = self.seconds_start + self.seconds_preprocessing + self.seconds_features
        return prepared_s + self.seconds_training + self.seconds_evaluation

    @property
    def num_trained(self) -> int:
        """Parameters in trained stages and the head."""
        return sum(number for _, _, number, is_trained in self.stages if is_trained)

    @property
    def num_parameters(self) -> int:
        """All of them."""
        return sum(number for _, _, number, _ in self.stages)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, with the totals."""
        totals = {name: getattr(self, name) for name in ("seconds_total", "num_trained", "num_parameters")}
        return {**dataclasses.asdict(self), **totals}

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> "Estimate":
        """Rebuild from `to_dict`; raises TypeError or KeyError for another format."""
        known = {field.name: content[field.name] for field in dataclasses.fields(cls)}
        return cls(**{**known, "stages": [tuple(stage) for stage in known["stages"]]})


def kept_estimate(config: TrainConfig) -> Path:
    """Where the estimate of a resolved config is kept: a name that changes with everything that it depends on."""
    described = {
        "format": FORMAT_VERSION,
        "config": config.to_dict(),
        "versions": [importlib.metadata.version(package) for package in ("torch", "torchvision")],
    }
    return cache_dir() / "estimates" / f"{digest_of(described)}.json"


def estimate_training(
    config: TrainConfig,
    dataset: Dataset,
    compute: "Compute",
    *,
    seconds_start: float = 0.0,
    progress: Progress = ignore_progress,
    should_stop: ShouldStop = never_stop,
) -> Estimate:
    """Measure a few real steps of a resolved config on a few images of `dataset`, and work out the rest.

    `seconds_start` is what it took to come here, which the training's process will need as well. Raises Stopped.
    """
    from lib.training.estimation.estimator import Estimator

    return Estimate(**Estimator(config, dataset, compute, progress, should_stop).estimate(seconds_start))
