"""One training with several seeds: one process writes a run for each, on one split, and their spread is told."""

import dataclasses
import math
import secrets
import statistics
import time
from dataclasses import dataclass
from typing import Any, Self

from lib.data.library import open_dataset
from lib.errors import UserError
from lib.recipes import run_title
from lib.sweeps.plan import Entry, SweepPlan
from lib.tracking.scores import beside_metrics
from lib.tracking.state import GROUP_TAG, read_summary, run_folder
from lib.training.config import TrainConfig

MAX_SEEDS = 20
METRICS = ("test_accuracy", "test_balanced_accuracy", "test_quadratic_weighted_kappa", "test_auroc",
           "test_referable_auroc", "test_baseline_accuracy")  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class SeedSweep(SweepPlan):
    """A training and its seeds 0 ... num_seeds - 1; whatever seed the config has, the split stays."""

    folder, id_field = "groups", "group_id"
    noun, nouns = "group of seeds", "groups"
    kept = "Seeds that are done are kept; resuming goes on from there."
    busy = "The seeds of the group {} are being trained already."
    worker = "seeds work {}"

    group_id: str
    num_seeds: int
    config: dict[str, Any]
    created_s: float = 0.0

    @classmethod
    def parse(cls, content: dict[str, Any]) -> Self:
        """As `SweepPlan.parse`; raises UserError for a training that this version cannot read."""
        plan = cls(**content)
        TrainConfig.from_dict(plan.config)
        return plan

    @property
    def entries(self) -> tuple[Entry, ...]:
        """The trainings, seed by seed."""
        return tuple(self._entry(seed) for seed in range(self.num_seeds))

    def _entry(self, seed: int) -> Entry:
        config, key = dataclasses.replace(TrainConfig.from_dict(self.config), seed=seed), f"seed {seed}"
        title, tags = f"Seed {seed} of {self.num_seeds}", {GROUP_TAG: self.group_id}
        return Entry(key=key, title=title, name=run_title(config, mark=key), config=config, tags=tags)

    def spreads(self) -> list["Spread"]:
        """Mean and standard deviation over the finished seeds, for every metric that any of them has.

        The metric that these classes are judged by comes first; the baseline is that of the same test images.
        """
        folders = [run_folder(run_id) for run_id in self.read().runs.values()]
        figures = [(folder, read_summary(folder)) for folder in folders]
        summaries = [{**beside_metrics(folder, summary), **summary} for folder, summary in figures]
        headline = next((f"test_{one['headline']}" for one in summaries if one.get("headline")), METRICS[0])
        found = []
        for metric in sorted(METRICS, key=lambda metric: metric != headline):
            values = [float(summary[metric]) for summary in summaries if isinstance(summary.get(metric), int | float)]
            if values:
                deviation = statistics.stdev(values) if len(values) > 1 else math.nan
                found.append(Spread(metric, statistics.fmean(values), deviation, tuple(values)))
        return found


@dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation of one metric over the finished seeds; NaN where there are too few."""

    metric: str
    mean: float
    deviation: float
    values: tuple[float, ...]


def make_plan(config: TrainConfig, num_seeds: int) -> SeedSweep:
    """Check and keep a group. Raises UserError for a number of seeds that makes no group, or a config that fits not."""
    from lib.experiment import resolve_start

    if not 2 <= num_seeds <= MAX_SEEDS:
        raise UserError(f"Several seeds are 2 to {MAX_SEEDS}; received {num_seeds}.")
    # By its full id: a beginning may fit another run later, and "latest" would.
    head_from = resolve_start(config, open_dataset(config.dataset)).head_from
    config = dataclasses.replace(config, head_from=head_from)
    plan = SeedSweep(group_id=secrets.token_hex(4), num_seeds=num_seeds, config=config.to_dict(), created_s=time.time())
    plan.write()
    return plan
