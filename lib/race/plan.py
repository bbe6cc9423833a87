"""What a race is, kept as JSON beside the runs: data set, backbone, rungs and settings. Imports no torch, no MLflow."""

import dataclasses
import secrets
import time
from dataclasses import dataclass, field
from typing import Any

from lib.models.backbones import BACKBONES
from lib.models.weights import default_backbone
from lib.race.rungs import DEFAULT_RUNGS, RUNGS, RungSpec, check_rungs
from lib.recipes import run_title
from lib.series import SeriesFiles, SeriesState, read_series
from lib.series.plans import KeptPlans
from lib.settings import FALLBACK_BACKBONE
from lib.training.config import TrainConfig
from lib.training.resolution import AUTO_WATCHED
from lib.training.strategies import STRATEGIES

FORMAT_VERSION = 1
RACE_TAG = "race_id"
# Each rung that trains the network sees every image equally often, so that only the start differs.
DEFAULT_EPOCHS = 3
DEFAULT_BATCH_SIZE = 16
# A microaneurysm is 1.1 px wide at 192 px and drowns at 128; the bundled backbone takes any size.
_BUNDLED_INPUT_PX = 192
_KEPT_MESSAGE = "The rungs that are done are kept; going on starts where it was."
_ENDED_MESSAGE = "The race ended without a word (its process is gone)."


@dataclass(frozen=True, kw_only=True)
class RacePlan:
    """Everything that is the same for all rungs, and which rungs run."""

    race_id: str
    dataset: str
    backbone: str = field(default_factory=default_backbone)
    rungs: tuple[str, ...] = ()
    epochs: int = DEFAULT_EPOCHS
    batch_size: int = DEFAULT_BATCH_SIZE
    input_size_px: int | None = None
    seed: int = 0
    split_seed: int = 0
    pinned_images: str | None = AUTO_WATCHED
    num_images: int = 0
    created_s: float = 0.0
    format_version: int = FORMAT_VERSION

    @property
    def plan_id(self) -> str:
        """The race's id, as every plan has one."""
        return self.race_id

    @property
    def files(self) -> SeriesFiles:
        """Where its state is kept."""
        return SeriesFiles(_PLANS.state_file(self.race_id), kept=_KEPT_MESSAGE, ended=_ENDED_MESSAGE)

    @property
    def entries(self) -> tuple["RaceEntry", ...]:
        """The runs, in order."""
        return tuple(RaceEntry(self, RUNGS.get(name)) for name in self.rungs)

    @property
    def title(self) -> str:
        """A name to show."""
        return f"{BACKBONES.get(self.backbone).title} · {self.dataset}"

    @property
    def size_px(self) -> int:
        """The side of the images that the networks see."""
        return self.input_size_px or BACKBONES.get(self.backbone).input_size_px

    @property
    def expected_s(self) -> float:
        """About how long it takes on two cores, rung by rung."""
        return sum(entry.cost_s for entry in self.entries)


@dataclass(frozen=True)
class RaceEntry:
    """One rung of a race as an entry of a series."""

    plan: RacePlan
    rung: RungSpec

    @property
    def key(self) -> str:
        """The strategy."""
        return self.rung.name

    @property
    def title(self) -> str:
        """The strategy's title."""
        return self.rung.title

    @property
    def name(self) -> str:
        """The name of the run, as it stands in every list."""
        return run_title(self.config, mark=f"race {self.plan.race_id[:4]}")

    @property
    def tags(self) -> dict[str, str]:
        """Which race the run belongs to."""
        return {RACE_TAG: self.plan.race_id}

    @property
    def cost_s(self) -> float:
        """About how long it takes on two cores; the work grows with images and pixels."""
        plan = self.plan
        share = (plan.num_images or 1000) / 1000 * (plan.size_px / _BUNDLED_INPUT_PX) ** 2
        return max(1.0, (self.rung.fixed_s + self.rung.epoch_s * plan.epochs) * share)

    @property
    def config(self) -> TrainConfig:
        """The training; all rungs share everything but the strategy."""
        plan = self.plan
        is_iterative = STRATEGIES.get(self.key).is_iterative
        settings: dict[str, Any] = {"epochs": plan.epochs, "batch_size": plan.batch_size} if is_iterative else {}
        return TrainConfig(
            dataset=plan.dataset,
            backbone=plan.backbone,
            strategy=self.key,
            input_size_px=plan.input_size_px,
            seed=plan.seed,
            split_seed=plan.split_seed,
            pinned_images=plan.pinned_images,
            **{**settings, **self.rung.settings},
        )


def make_plan(*, dataset: str, backbone: str | None = None, rungs: tuple[str, ...] = (), **settings: Any) -> RacePlan:
    """A checked plan with an id of its own; nothing is written yet.

    Args:
        dataset: a name in the library.
        backbone: a name in `BACKBONES`; by default the default backbone.
        rungs: names in `RUNGS`; by default those of `DEFAULT_RUNGS`.
        settings: further fields of `RacePlan`; those that are None keep their default.

    Raises:
        UserError: unknown names, images that cannot be pinned, or weights that are not at hand.
    """
    from lib.data.library import open_dataset
    from lib.models.weights import require_weights
    from lib.training.resolution import resolve_config

    spec, opened = BACKBONES.get(backbone or default_backbone()), open_dataset(dataset)
    require_weights(spec.name)
    given = {key: value for key, value in settings.items() if value is not None}
    given.setdefault("input_size_px", default_input_size(spec.name))
    plan = RacePlan(
        race_id=secrets.token_hex(6),
        dataset=opened.name,
        backbone=spec.name,
        rungs=check_rungs(tuple(rungs) or DEFAULT_RUNGS),
        num_images=len(opened.table),
        created_s=time.time(),
        **given,
    )
    resolved = [resolve_config(entry.config, opened) for entry in plan.entries]
    return dataclasses.replace(plan, pinned_images=resolved[0].pinned_images)


def default_input_size(backbone: str) -> int | None:
    """The side of the images in a race where none is asked for; None for the backbone's own."""
    return _BUNDLED_INPUT_PX if backbone == FALLBACK_BACKBONE else None


def write_plan(plan: RacePlan) -> None:
    """Keep a plan."""
    _PLANS.write(plan)


def read_plan(race_id: str) -> RacePlan:
    """The plan of a race by its id or the beginning of it, or "latest"; raises UserError if there is none."""
    return _PLANS.find(race_id)


def list_plans() -> list[RacePlan]:
    """All races, newest first; those that this version cannot read are passed over."""
    return _PLANS.newest_first()


def read_race(plan: RacePlan) -> SeriesState:
    """How far a race is."""
    return read_series(plan.files)


def active_race() -> RacePlan | None:
    """The race that a process is working on, if any."""
    return next((plan for plan in list_plans() if read_race(plan).is_active), None)


def _parse(content: dict[str, Any]) -> RacePlan:
    """A plan from what its file holds; raises UserError for a backbone or a rung that this version does not have."""
    plan = RacePlan(**{**content, "rungs": tuple(content["rungs"])})
    BACKBONES.get(plan.backbone)
    for name in plan.rungs:
        RUNGS.get(name)
    return plan


_PLANS = KeptPlans("races", _parse, noun="race", nouns="races")
