"""One training with several numbers of training images: what would more images be worth?

Each share of the images to learn from (to train and to validate) is a run; the smaller shares are parts of the larger
ones, by whole groups and of every class, and the test images are the same for all (`train_fraction` of the config).
"""

import dataclasses
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from lib.data.library import open_dataset
from lib.errors import UserError
from lib.evaluation.intervals import Interval
from lib.evaluation.metric_table import Metric
from lib.recipes import run_title
from lib.sweeps.plan import Entry, SweepPlan, SweepState
from lib.sweeps.runner import missing_entries
from lib.tracking.records import RunRecord, get_run
from lib.tracking.state import read_summary, run_folder
from lib.tracking.tested import TestedRun, on_shared_images
from lib.training.config import TrainConfig

if TYPE_CHECKING:
    from lib.figures.cost_charts import SizeSeries

SERIES_TAG = "size_series"
DEFAULT_SHARES = (0.1, 0.3, 1.0)
MAX_SHARES = 10
LEAST_SHARE = 0.001


@dataclass(frozen=True, kw_only=True)
class SizeSweep(SweepPlan):
    """A training and the shares of its images to learn from, rising; whatever share the config has, these count."""

    folder, id_field = "sizes", "series_id"
    noun, nouns = "series of sizes", "series"
    kept = "Sizes that are done are kept; resuming goes on from there."
    busy = "The sizes of the series {} are being trained already."
    worker = "sizes work {}"

    series_id: str
    shares: tuple[float, ...]
    config: dict[str, Any]
    created_s: float = 0.0

    @classmethod
    def parse(cls, content: dict[str, Any]) -> Self:
        """As `SweepPlan.parse`; raises UserError for a training that this version cannot read."""
        plan = cls(**{**content, "shares": tuple(float(share) for share in content["shares"])})
        TrainConfig.from_dict(plan.config)
        return plan

    @property
    def entries(self) -> tuple[Entry, ...]:
        """The trainings, the smallest share first."""
        return tuple(self._entry(share) for share in self.shares)

    def _entry(self, share: float) -> Entry:
        config = dataclasses.replace(TrainConfig.from_dict(self.config), train_fraction=None if share == 1 else share)
        if share != 1:
            config = dataclasses.replace(config, pinned_images=None)  # they may be none of its images
        key = share_key(share)
        return Entry(
            key=key, title=f"{key} of the images", name=run_title(config, mark=f"{key} of the images"), config=config,
            tags={SERIES_TAG: self.series_id}, cost_s=max(1.0, 60.0 * share),
        )  # fmt: skip

    def sizes(self) -> list["SizeResult"]:
        """The sizes whose runs have finished, the smallest first."""
        runs = self.read().runs
        found = []
        for share in self.shares:
            run_id = runs.get(share_key(share))
            summary = read_summary(run_folder(run_id)) if run_id else {}
            if run_id and summary.get("num_train"):
                found.append(SizeResult(share, run_id, int(summary["num_train"]), summary))
        return found


@dataclass(frozen=True)
class SizeResult:
    """A finished run of a series: its share, how many images it learned from, and its final figures."""

    share: float
    run_id: str
    num_train: int
    summary: dict[str, Any]


def share_key(share: float) -> str:
    """The key of a share in a series, such as "10 %"."""
    return f"{100 * share:g} %"


def make_plan(
    config: TrainConfig, shares: Sequence[float] = DEFAULT_SHARES, *, whole: RunRecord | None = None
) -> SizeSweep:
    """Check and keep a series; `whole` is a finished run of this training on all images, which is not trained again.

    Raises:
        UserError: shares that make no series, a training with folds, or a config that fits not.
    """
    from lib.experiment import resolve_start

    if config.num_folds:
        raise UserError("A series of sizes has one test set, and folds test all images in turn; train without folds.")

    chosen = tuple(sorted({round(float(share), 6) for share in shares}))
    if not 2 <= len(chosen) <= MAX_SHARES or not chosen[0] >= LEAST_SHARE or chosen[-1] > 1:
        told = ", ".join(f"{share:g}" for share in shares) or "none"
        raise UserError(
            f"A series needs 2 to {MAX_SHARES} different shares between {LEAST_SHARE:g} and 1; received {told}."
        )
    dataset = open_dataset(config.dataset)
    for share in chosen:  # too few images of a class for the smallest share are said before anything is trained
        resolved = resolve_start(dataclasses.replace(config, train_fraction=None if share == 1 else share,
                                                     pinned_images=None), dataset)  # fmt: skip
    config = dataclasses.replace(config, head_from=resolved.head_from)
    plan = SizeSweep(series_id=secrets.token_hex(4), shares=chosen, config=config.to_dict(), created_s=time.time())
    if whole is not None and chosen[-1] == 1:
        runs = {share_key(1.0): whole.run_id}
        if plan.entries[-1] not in missing_entries(plan.entries, {dataset.name: dataset}, runs):
            plan.write()
            plan.keep(SweepState(runs=runs))
            return plan
    plan.write()
    return plan


def series_of_run(run_id: str, shares: Sequence[float] = DEFAULT_SHARES) -> SizeSweep:
    """A series of the training that a run was, whatever share of the images it had; the run itself is its whole.

    Raises:
        UserError: no such run, or as `make_plan`.
    """
    run = get_run(run_id)
    config = TrainConfig.from_dict(run.config)
    is_whole = config.train_fraction is None and run.state == "finished"
    return make_plan(dataclasses.replace(config, train_fraction=None), shares, whole=run if is_whole else None)


def series_of_runs(runs: Sequence[RunRecord]) -> list[SizeSweep]:
    """The newest series of each of the runs."""
    wanted = {run.run_id: run.tags.get(SERIES_TAG, "") for run in runs}
    found = []
    for plan in SizeSweep.newest_first():
        members = set(plan.read().runs.values()) | {key for key, tag in wanted.items() if tag == plan.series_id}
        if members & wanted.keys():
            found.append(plan)
            wanted = {key: tag for key, tag in wanted.items() if key not in members}
    return found


def read_series(
    plan: SizeSweep, label: str, read: Callable[[str, str], TestedRun | None], value: Callable[[TestedRun], Interval]
) -> "SizeSeries | None":
    """The values of a series' finished sizes on the test images that all of them share; None where there is none.

    Args:
        plan: the series.
        label: what to call it.
        read: gives the answers of a run by its id and what to call it; None where they are gone.
        value: the metric of such answers.

    Raises:
        UserError: the sizes share no test image.
    """
    from lib.figures.cost_charts import SizeSeries

    answers = [(size.num_train, read(size.run_id, share_key(size.share))) for size in plan.sizes()]
    known = [(number, one) for number, one in answers if one is not None]
    if not known:
        return None
    shared = on_shared_images([one for _, one in known])
    strategy = str(plan.config.get("strategy", ""))
    return SizeSeries(label, strategy, tuple(number for number, _ in known), tuple(value(one) for one in shared))


SERIES_WORDS = (
    "Bars: 95 % intervals on the test images, which are the same for every size. Smaller sets are parts of larger "
    "ones, of every class and by whole groups; the images that validate shrink with them."
)


def series_words(series: "Sequence[SizeSeries]", metric: Metric) -> str:
    """Each series in words, size by size."""
    return "; ".join(
        f"{one.label}: "
        + ", ".join(
            f"{metric.text(found.value)} with {size}" for size, found in zip(one.sizes, one.values, strict=True)
        )
        for one in series
    )


def series_with_run(run_id: str) -> SizeSweep | None:
    """The newest series that a run belongs to; None where it belongs to none."""
    return next((plan for plan in SizeSweep.newest_first() if run_id in plan.read().runs.values()), None)
