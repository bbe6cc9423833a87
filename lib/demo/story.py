"""Which runs the default story is made of, in one table: a race of six rungs. Imports no torch: pages read it too."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from lib.race.plan import RaceEntry, RacePlan
from lib.race.rungs import RUNGS
from lib.recipes import run_title
from lib.settings import DEMO_DATASET
from lib.training.config import TrainConfig
from lib.training.strategies import STRATEGIES

DEMO_TAG = "demo"
BACKBONE = "efficientnet_lite0"
RUNG_NAMES = (
    "nearest_neighbors", "linear_probe", "feature_extraction", "partial_finetuning", "full_finetuning", "from_scratch",
)  # fmt: skip
INPUT_SIZE_PX = 192
# Each rung that trains the network sees every image equally often, so that only the start differs; 16 images a step:
# twice the steps of 32 in the same time, which counts where epochs are few.
EPOCHS, BATCH_SIZE = 5, 16
PER_CLASS, PICTURE_PX, STORE_SIDE_PX, SEED = 100, 320, 288, 2026


@dataclass(frozen=True, kw_only=True)
class DemoRun:
    """One run of the story, as an entry of a series; its training is that of the recorded run."""

    strategy: str

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
    def cost_s(self) -> float:
        """About how long it takes on two cores; only shapes the progress bar."""
        return self._entry.cost_s

    @property
    def config(self) -> TrainConfig:
        """The training; all runs share data set, backbone, input size, split and seed."""
        return self._entry.config

    @property
    def _entry(self) -> RaceEntry:
        return RaceEntry(demo_plan(), RUNGS.get(self.strategy))


@lru_cache(maxsize=8)
def demo_plan(race_id: str = "", **changes: Any) -> RacePlan:
    """The race of the demo."""
    settings = {
        "dataset": DEMO_DATASET, "backbone": BACKBONE, "rungs": RUNG_NAMES, "epochs": EPOCHS,
        "batch_size": BATCH_SIZE, "input_size_px": INPUT_SIZE_PX, "num_images": 5 * PER_CLASS,
    }  # fmt: skip
    return RacePlan(race_id=race_id, **{**settings, **changes})


STORY = tuple(DemoRun(strategy=name) for name in RUNG_NAMES)
