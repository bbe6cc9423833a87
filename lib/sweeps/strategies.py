"""The race of strategies on one split and seed, from nothing trained to everything from random weights.

Imports no torch and no MLflow. On screen it is a ladder with rungs, which stored plans and the command line say too.
"""

import dataclasses
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from lib.data.dataset import takes_part
from lib.data.grades import known_grades
from lib.data.library import open_dataset
from lib.data.specs import DatasetSpec
from lib.errors import UserError
from lib.models.backbones import BACKBONES
from lib.models.weights import default_backbone, require_weights
from lib.recipes import RECIPES, PublishedLine, fits_subject, published_line, run_title
from lib.recipes.spec import FUNDUS
from lib.registry import Registry
from lib.settings import FALLBACK_BACKBONE
from lib.sweeps.plan import Entry, SweepPlan, SweepState
from lib.tracking.state import append_line, read_lines
from lib.training.config import TrainConfig
from lib.training.events import EpochEnded, NetworkBuilt
from lib.training.resolution import AUTO_WATCHED, resolve_config
from lib.training.strategies import STRATEGIES

if TYPE_CHECKING:
    from lib.tracking.writer import RunWriter

FORMAT_VERSION = 1
RACE_TAG = "race_id"
CURVE_FILE = "race_curve.jsonl"  # a line an epoch, in the run's folder
# Each arm that trains the network sees every image equally often, so that only the start differs.
DEFAULT_EPOCHS = 3
DEFAULT_BATCH_SIZE = 16
# A microaneurysm is 1.1 px wide at 192 px and drowns at 128; the bundled backbone takes any size.
_BUNDLED_INPUT_PX = 192


@dataclass(frozen=True, kw_only=True)
class ArmSpec:
    """One strategy of the race (its name), and about how long it takes.

    `fixed_s` is for what is done once (features, evaluation), `epoch_s` for an epoch; both of 1,000 images of 192 px on
    two cores. They only shape the progress bar and the estimate before the start. `recipes` name published experiments
    that train as this arm does; the first that fits the data set gives its published line. One with `is_on_request`
    races only where it is named.
    """

    name: str
    fixed_s: float
    epoch_s: float = 0.0
    recipes: tuple[str, ...] = ()
    is_on_request: bool = False

    @property
    def title(self) -> str:
        """The strategy's title."""
        return STRATEGIES.get(self.name).title


_PROBED = ("vgg16-dr-lr", "inceptionv3-dr-transfer", "vgg16-dogscats", "vgg16-food-transfer")
_TUNED = ("vgg16-dr-ft-learned", "inceptionv3-dr-transfer-finetune")
_SCRATCH = ("inceptionv3-dr-scratch", "cnn-food-scratch")
ARMS: Registry[ArmSpec] = Registry("rung")
for _arm in (
    ArmSpec(name="nearest_neighbors", fixed_s=9.0),
    ArmSpec(name="linear_probe", fixed_s=2.0, recipes=_PROBED),
    ArmSpec(name="feature_extraction", fixed_s=4.0, is_on_request=True),
    ArmSpec(name="partial_finetuning", fixed_s=12.0, epoch_s=7.0, is_on_request=True),
    ArmSpec(name="probe_then_finetune", fixed_s=19.0, epoch_s=17.0, recipes=_TUNED),
    ArmSpec(name="full_finetuning", fixed_s=18.0, epoch_s=17.0),
    ArmSpec(name="from_scratch", fixed_s=18.0, epoch_s=17.0, recipes=_SCRATCH),
):
    ARMS.add(_arm)
DEFAULT_ARMS = tuple(arm.name for arm in ARMS if not arm.is_on_request)


@dataclass(frozen=True)
class CurvePoint:
    """An arm after an epoch: seconds since it began (interruptions left out), and its numbers as fractions."""

    epoch: int
    seconds: float
    values: dict[str, float]


@dataclass(frozen=True)
class Curve:
    """What an arm has told so far; `num_trained` is None before its network was built."""

    num_trained: int | None = None
    num_parameters: int | None = None
    points: tuple[CurvePoint, ...] = ()


class CurveWriter:
    """A listener that appends to a run's curve; seconds go on from the last line of an interrupted run."""

    def __init__(self, folder: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._path, self._clock, self._began_s = folder / CURVE_FILE, clock, clock()
        points = read_curve(folder).points
        self._before_s = points[-1].seconds if points else 0.0

    def __call__(self, event: Any) -> None:
        """Hear one event of a training."""
        if isinstance(event, NetworkBuilt):
            append_line(self._path, {"num_trained": event.num_trained, "num_parameters": event.num_parameters})
        elif isinstance(event, EpochEnded):
            seconds = round(self._before_s + self._clock() - self._began_s, 3)
            append_line(self._path, {"epoch": event.epoch, "seconds": seconds, "values": event.metrics})


def read_curve(folder: Path) -> Curve:
    """The curve in a run's folder; of an epoch that was repeated after a stop the last line counts."""
    lines = read_lines(folder / CURVE_FILE)
    points = {line["epoch"]: CurvePoint(**line) for line in lines if "epoch" in line}
    counts: dict[str, int] = next((line for line in reversed(lines) if "epoch" not in line), {})
    return Curve(**counts, points=tuple(points[epoch] for epoch in sorted(points)))


@dataclass(frozen=True, kw_only=True)
class StrategySweep(SweepPlan):
    """Everything that is the same for all arms, and which arms run (`rungs`); the fields are stored by their names."""

    folder, id_field = "races", "race_id"
    noun, nouns = "race", "races"
    kept = "The rungs that are done are kept; going on starts where it was."
    ended = "The race ended without a word (its process is gone)."
    busy = "The race {} is running already; the train page shows how far it is."
    worker = "race --worker {}"

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

    @classmethod
    def parse(cls, content: dict[str, Any]) -> Self:
        """As `SweepPlan.parse`; raises UserError for a backbone or an arm that this version does not have."""
        plan = cls(**{**content, "rungs": tuple(content["rungs"])})
        BACKBONES.get(plan.backbone)
        for name in plan.rungs:
            ARMS.get(name)
        return plan

    @property
    def entries(self) -> tuple[Entry, ...]:
        """The trainings, in the ladder's order."""
        return tuple(self.entry(ARMS.get(name)) for name in self.rungs)

    def entry(self, arm: ArmSpec, mark: str | None = None, tags: Mapping[str, str] | None = None) -> Entry:
        """The training of an arm, which shares everything but the strategy with the others; `mark` ends its title."""
        is_iterative = STRATEGIES.get(arm.name).is_iterative
        steps: dict[str, Any] = {"epochs": self.epochs, "batch_size": self.batch_size} if is_iterative else {}
        config = TrainConfig(
            dataset=self.dataset, backbone=self.backbone, strategy=arm.name, input_size_px=self.input_size_px,
            seed=self.seed, split_seed=self.split_seed, pinned_images=self.pinned_images, **steps,
        )  # fmt: skip
        # On two cores; the work grows with images and pixels.
        share = (self.num_images or 1000) / 1000 * (self.size_px / _BUNDLED_INPUT_PX) ** 2
        return Entry(
            key=arm.name, title=arm.title, name=run_title(config, mark=mark or f"race {self.race_id[:4]}"),
            config=config, tags=tags or {RACE_TAG: self.race_id},
            cost_s=max(1.0, (arm.fixed_s + arm.epoch_s * self.epochs) * share),
        )  # fmt: skip

    def listener(self, run: "RunWriter") -> Callable[[Any], None]:
        """Writes the arm's curve."""
        return CurveWriter(run.folder)

    def start(self) -> SweepState:
        """As `SweepPlan.start`; raises UserError too where another race is running."""
        self.refuse_second()
        self.write()
        return super().start()

    def refuse_second(self) -> None:
        """Raise UserError while another race runs: two of them would only take turns, and both would look slow."""
        active = self.active()
        if active is not None and active.race_id != self.race_id:
            raise UserError(
                f"The race {active.race_id} ({active.title}) is running; wait for it, or stop it first: "
                f"python -m lib race --stop {active.race_id}"
            )

    @classmethod
    def active(cls) -> Self | None:
        """The race that a process is working on, if any."""
        return next((plan for plan in cls.newest_first() if plan.read().is_active), None)

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
        """About how long it takes on two cores, arm by arm."""
        return sum(entry.cost_s for entry in self.entries)

    def published_lines(self, spec: DatasetSpec, metric: str) -> dict[str, PublishedLine]:
        """Arm -> the published "accuracy" or "quadratic_weighted_kappa" of its recipe, where one fits the data set."""
        # Retinal photographs in the five grades also fit studies of fundus photographs.
        is_graded = spec.is_ordinal and known_grades(spec.class_names) is not None
        is_graded_retina = is_graded and spec.crop_policy == "retina_box"
        found = {}
        for arm in map(ARMS.get, self.rungs):
            for recipe in map(RECIPES.get, arm.recipes):
                line = published_line(recipe.name, f"test_{metric}")
                fits = fits_subject(recipe.subject, spec) or (recipe.subject is FUNDUS and is_graded_retina)
                if line is not None and fits:
                    found[arm.name] = line
                    break
        return found


def make_plan(
    *, dataset: str, backbone: str | None = None, rungs: tuple[str, ...] = (), **settings: Any
) -> StrategySweep:
    """A checked plan with an id of its own; nothing is written yet.

    Args:
        dataset: a name in the library.
        backbone: a name in `BACKBONES`; by default the default backbone.
        rungs: names in `ARMS`; by default those of `DEFAULT_ARMS`.
        settings: further fields of `StrategySweep`; those that are None keep their default.

    Raises:
        UserError: unknown names, images that cannot be pinned, or weights that are not at hand.
    """
    spec, opened = BACKBONES.get(backbone or default_backbone()), open_dataset(dataset)
    require_weights(spec.name)
    given = {key: value for key, value in settings.items() if value is not None}
    given.setdefault("input_size_px", default_input_size(spec.name))
    plan = StrategySweep(
        race_id=secrets.token_hex(6), dataset=opened.name, backbone=spec.name,
        rungs=check_arms(tuple(rungs) or DEFAULT_ARMS), num_images=int(takes_part(opened).sum()),
        created_s=time.time(), **given,
    )  # fmt: skip
    resolved = [resolve_config(entry.config, opened) for entry in plan.entries]
    return dataclasses.replace(plan, pinned_images=resolved[0].pinned_images)


def default_input_size(backbone: str) -> int | None:
    """The side of the images in a race where none is asked for; None for the backbone's own."""
    return _BUNDLED_INPUT_PX if backbone == FALLBACK_BACKBONE else None


def check_arms(names: tuple[str, ...]) -> tuple[str, ...]:
    """The arms in the ladder's order, each once; raises UserError for an unknown one or fewer than two."""
    for name in names:
        if name not in ARMS:
            raise UserError(f"Unknown rung {name!r}. Choose from: {', '.join(ARMS.names)}.")
    chosen = tuple(name for name in ARMS.names if name in names)
    if len(chosen) < 2:
        raise UserError(f"A race needs at least two rungs, received {', '.join(names) or 'none'}.")
    return chosen
