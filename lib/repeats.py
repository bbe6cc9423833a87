"""One training with several seeds: one process writes a run for each, on one split, and their spread is told."""

import dataclasses
import math
import secrets
import statistics
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lib.atomic import read_json
from lib.errors import UserError
from lib.progress import Progress, ignore_progress
from lib.recipes import run_title
from lib.series import SeriesFiles, SeriesState, control, read_series
from lib.series.plans import KeptPlans
from lib.tracking.scores import beside_metrics
from lib.tracking.state import SUMMARY_FILE, run_folder
from lib.training.config import TrainConfig

if TYPE_CHECKING:
    from lib.series.work import Work

GROUP_TAG = "group_id"
MAX_SEEDS = 20
METRICS = ("test_accuracy", "test_balanced_accuracy", "test_quadratic_weighted_kappa", "test_auroc",
           "test_referable_auroc", "test_baseline_accuracy")  # fmt: skip
_KEPT = "Seeds that are done are kept; resuming goes on from there."


@dataclass(frozen=True, kw_only=True)
class RepeatPlan:
    """A training and its seeds 0 ... num_seeds - 1; whatever seed the config has, the split stays."""

    group_id: str
    num_seeds: int
    config: dict[str, Any]
    created_s: float = 0.0

    @property
    def plan_id(self) -> str:
        """The group's id, as every plan has one."""
        return self.group_id

    @property
    def files(self) -> SeriesFiles:
        """Where its state is kept."""
        return SeriesFiles(_PLANS.state_file(self.group_id), kept=_KEPT)

    @property
    def entries(self) -> tuple["SeedEntry", ...]:
        """The runs, in order."""
        return tuple(SeedEntry(self, seed) for seed in range(self.num_seeds))


@dataclass(frozen=True)
class SeedEntry:
    """One seed as an entry of a series."""

    plan: RepeatPlan
    seed: int
    cost_s: float = 30.0

    @property
    def key(self) -> str:
        """The seed."""
        return f"seed {self.seed}"

    @property
    def title(self) -> str:
        """What is being done."""
        return f"Seed {self.seed} of {self.plan.num_seeds}"

    @property
    def name(self) -> str:
        """The name of the run, as it stands in every list."""
        return run_title(self.config, mark=self.key)

    @property
    def tags(self) -> dict[str, str]:
        """Which group the run belongs to."""
        return {GROUP_TAG: self.plan.group_id}

    @property
    def config(self) -> TrainConfig:
        """The training with this seed."""
        return dataclasses.replace(TrainConfig.from_dict(self.plan.config), seed=self.seed)


@dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation of one metric over the finished seeds; NaN where there are too few."""

    metric: str
    mean: float
    deviation: float
    values: tuple[float, ...] = field(default=())


def make_plan(config: TrainConfig, num_seeds: int) -> RepeatPlan:
    """Check and keep a group. Raises UserError for a number of seeds that makes no group, or a config that fits not."""
    from lib.data.library import open_dataset
    from lib.experiment import resolve_start

    if not 2 <= num_seeds <= MAX_SEEDS:
        raise UserError(f"Several seeds are 2 to {MAX_SEEDS}; received {num_seeds}.")
    # By its full id: a beginning may fit another run later, and "latest" would.
    head_from = resolve_start(config, open_dataset(config.dataset)).head_from
    config = dataclasses.replace(config, head_from=head_from)
    plan = RepeatPlan(
        group_id=secrets.token_hex(4), num_seeds=num_seeds, config=config.to_dict(), created_s=time.time()
    )
    _PLANS.write(plan)
    return plan


def list_plans() -> list[RepeatPlan]:
    """All groups, newest first; those that this version cannot read are passed over."""
    return _PLANS.newest_first()


def read_plan(group_id: str) -> RepeatPlan:
    """The group of that id or the beginning of it, or "latest"; raises UserError if there is none."""
    return _PLANS.find(group_id)


def read_group(plan: RepeatPlan) -> SeriesState:
    """How far a group is."""
    return read_series(plan.files)


def run_group(plan: RepeatPlan, *, progress: Progress = ignore_progress, work: "Work | None" = None) -> SeriesState:
    """Do the seeds that are missing, in this process; raises UserError if one failed (the others are done)."""
    from lib.series.work import Series, named_dataset

    return Series(
        plan.files,
        plan.entries,
        open_dataset=named_dataset(str(plan.config["dataset"])),
        progress=progress,
        work=work,
        busy_message=f"The seeds of the group {plan.group_id} are being trained already.",
    ).run()


def start(plan: RepeatPlan) -> SeriesState:
    """Start a group, or go on with it, in a detached process; returns at once."""
    return control.start(plan.files, ["seeds", "work", plan.group_id])


def stop(plan: RepeatPlan) -> SeriesState:
    """Ask a group to stop: seeds that are done stay, the one at work keeps its checkpoint."""
    return control.stop(plan.files)


def stop_and_wait(plan: RepeatPlan) -> SeriesState:
    """As `stop`, and wait until its process is gone."""
    return control.stop_and_wait(plan.files)


def spreads(plan: RepeatPlan) -> list[Spread]:
    """Mean and standard deviation over the finished seeds, for every metric that any of them has.

    The metric that these classes are judged by comes first; the baseline is that of the same test images.
    """
    summaries = [_summary(run_id) for run_id in read_group(plan).runs.values()]
    headline = next((f"test_{one['headline']}" for one in summaries if one.get("headline")), METRICS[0])
    found = []
    for metric in sorted(METRICS, key=lambda metric: metric != headline):
        values = [float(summary[metric]) for summary in summaries if isinstance(summary.get(metric), int | float)]
        if values:
            deviation = statistics.stdev(values) if len(values) > 1 else math.nan
            found.append(Spread(metric, statistics.fmean(values), deviation, tuple(values)))
    return found


def _summary(run_id: str) -> dict[str, Any]:
    folder = run_folder(run_id)
    try:
        summary = dict(read_json(folder / SUMMARY_FILE))
        return {**beside_metrics(folder, summary), **summary}
    except (OSError, ValueError):
        return {}


def _parse(content: dict[str, Any]) -> RepeatPlan:
    """A plan from what its file holds; raises UserError for a training that this version cannot read."""
    plan = RepeatPlan(**content)
    TrainConfig.from_dict(plan.config)
    return plan


_PLANS = KeptPlans("groups", _parse, noun="group of seeds", nouns="groups")
