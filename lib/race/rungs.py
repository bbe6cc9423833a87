"""The rungs of the ladder, from nothing trained to everything from random weights, in one table. Imports no torch."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lib.errors import UserError
from lib.registry import Registry
from lib.training.strategies import STRATEGIES


@dataclass(frozen=True, kw_only=True)
class RungSpec:
    """One rung: its strategy (its name), and about how long it takes.

    `fixed_s` is for what is done once (features, evaluation), `epoch_s` for an epoch; both of 1,000 images of 192 px on
    two cores. They only shape the progress bar and the estimate before the start. `recipes` name published experiments
    that train as this rung does; the first that fits the data set gives its published line. One with `is_on_request`
    races only where it is named.
    """

    name: str
    fixed_s: float
    epoch_s: float = 0.0
    settings: Mapping[str, Any] = field(default_factory=dict)
    recipes: tuple[str, ...] = ()
    is_on_request: bool = False

    @property
    def title(self) -> str:
        """The strategy's title."""
        return STRATEGIES.get(self.name).title


_PROBED = ("vgg16-dr-lr", "inceptionv3-dr-transfer", "vgg16-dogscats", "vgg16-food-transfer")
_TUNED = ("vgg16-dr-ft-learned", "inceptionv3-dr-transfer-finetune")
_SCRATCH = ("inceptionv3-dr-scratch", "cnn-food-scratch")
_LADDER = (
    RungSpec(name="nearest_neighbors", fixed_s=9.0),
    RungSpec(name="linear_probe", fixed_s=2.0, recipes=_PROBED),
    RungSpec(name="feature_extraction", fixed_s=4.0, is_on_request=True),
    RungSpec(name="partial_finetuning", fixed_s=12.0, epoch_s=7.0, is_on_request=True),
    RungSpec(name="probe_then_finetune", fixed_s=19.0, epoch_s=17.0, recipes=_TUNED),
    RungSpec(name="full_finetuning", fixed_s=18.0, epoch_s=17.0),
    RungSpec(name="from_scratch", fixed_s=18.0, epoch_s=17.0, recipes=_SCRATCH),
)
RUNGS: Registry[RungSpec] = Registry("rung")
for _rung in _LADDER:
    if _rung.name in STRATEGIES:
        RUNGS.add(_rung)
DEFAULT_RUNGS = tuple(rung.name for rung in RUNGS if not rung.is_on_request)


def check_rungs(names: tuple[str, ...]) -> tuple[str, ...]:
    """The rungs in the ladder's order, each once; raises UserError for an unknown one or fewer than two."""
    known = [rung.name for rung in RUNGS]
    for name in names:
        if name not in known:
            raise UserError(f"Unknown rung {name!r}. Choose from: {', '.join(known)}.")
    chosen = tuple(name for name in known if name in names)
    if len(chosen) < 2:
        raise UserError(f"A race needs at least two rungs, received {', '.join(names) or 'none'}.")
    return chosen
