"""Which runs the default story is made of, in one table. Imports no torch: pages read it too."""

from dataclasses import dataclass, field
from typing import Any

from lib.recipes import run_title
from lib.settings import DEFAULT_BACKBONE, DEFAULT_DATASET
from lib.training.config import TrainConfig
from lib.training.strategies import STRATEGIES

DEMO_TAG = "demo"
# A microaneurysm is about 3 px wide on an image of 512 px: 1.1 px at 192, 0.75 px at 128, where it drowns.
INPUT_SIZE_PX = 192
# Full fine-tuning and from-scratch see each image equally often, so that only the start differs.
EPOCHS_ALL = 5
DATASET_COST_S = 75.0


@dataclass(frozen=True, kw_only=True)
class DemoRun:
    """One run of the story: its strategy and about how long it takes on two cores.

    `cost_s` only shapes the progress bar: the pace so far scales what is left.
    """

    strategy: str
    cost_s: float
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """What it is known by: each strategy is there once."""
        return self.strategy

    @property
    def title(self) -> str:
        """The strategy's title."""
        return STRATEGIES.get(self.strategy).title

    @property
    def tags(self) -> dict[str, str]:
        """Marks the run as one of the demo's."""
        return {DEMO_TAG: self.strategy}

    @property
    def name(self) -> str:
        """The name of the run, as it stands in every list."""
        return run_title(self.config, mark=DEMO_TAG)

    @property
    def config(self) -> TrainConfig:
        """The training; all runs share data set, backbone, input size, split and seed."""
        return TrainConfig(
            dataset=DEFAULT_DATASET,
            backbone=DEFAULT_BACKBONE,
            strategy=self.strategy,
            input_size_px=INPUT_SIZE_PX,
            **self.settings,
        )


# 16 images a step: twice the steps of 32 in the same time, which counts where epochs are few.
_TUNED = {"epochs": EPOCHS_ALL, "batch_size": 16}

STORY = (
    DemoRun(strategy="nearest_neighbors", cost_s=10),
    DemoRun(strategy="linear_probe", cost_s=6),
    DemoRun(strategy="feature_extraction", cost_s=7),
    DemoRun(strategy="partial_finetuning", cost_s=42, settings={**_TUNED, "epochs": 6}),
    DemoRun(strategy="full_finetuning", cost_s=92, settings=_TUNED),
    DemoRun(strategy="from_scratch", cost_s=92, settings=_TUNED),
)
