"""Which runs the default story is made of, in one table. Imports no torch: pages read it too."""

from dataclasses import dataclass, field
from typing import Any

from lib.settings import DEFAULT_BACKBONE, DEFAULT_DATASET
from lib.training.config import TrainConfig

DEMO_TAG = "demo"
# A microaneurysm is about 3 px wide on an image of 512 px: 1.1 px at 192, 0.75 px at 128, where it drowns.
INPUT_SIZE_PX = 192
# Full fine-tuning and from-scratch see each image equally often, so that only the start differs.
EPOCHS_ALL = 5
DATASET_COST_S = 75.0


@dataclass(frozen=True, kw_only=True)
class DemoRun:
    """One run of the story: its strategy, its name in plain words and about how long it takes on two cores.

    `cost_s` only shapes the progress bar: the pace so far scales what is left.
    """

    strategy: str
    title: str
    cost_s: float
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """What it is known by: each strategy is there once."""
        return self.strategy

    @property
    def tags(self) -> dict[str, str]:
        """Marks the run as one of the demo's."""
        return {DEMO_TAG: self.strategy}

    @property
    def name(self) -> str:
        """The name of the run, as it stands in every list."""
        return f"{self.title} · demo"

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
    DemoRun(strategy="nearest_neighbors", title="Similar images vote", cost_s=10),
    DemoRun(strategy="linear_probe", title="Frozen network, linear probe", cost_s=6),
    DemoRun(strategy="feature_extraction", title="Frozen network, small network on top", cost_s=7),
    DemoRun(strategy="partial_finetuning", title="Last blocks retrained", cost_s=42, settings={**_TUNED, "epochs": 6}),
    DemoRun(strategy="full_finetuning", title="Everything retrained", cost_s=92, settings=_TUNED),
    DemoRun(strategy="from_scratch", title="From scratch, no transfer", cost_s=92, settings=_TUNED),
)
