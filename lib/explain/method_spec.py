"""What an entry in the table of attribution methods says, and which networks methods fit. Imports no torch."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lib.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from lib.explain.question import Question
    from lib.models.stages import StagedNetwork

STAGE, INPUT = "stage", "input"


def _fits_all(_network: "StagedNetwork") -> str:
    return ""


@dataclass(frozen=True)
class Option:
    """One setting of a method, which a page draws as a widget; its type is that of `default`."""

    name: str
    title: str
    default: Any
    help: str = ""
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()

    def read(self, value: Any) -> Any:
        """A value, or its text, in the type of the default; raises UserError if it is none or out of range."""
        kind = type(self.default)
        words = "one of " + ", ".join(self.choices) if self.choices else f"from {self.minimum:g} to {self.maximum:g}"
        try:
            if isinstance(value, bool) or (kind is int and float(value) != int(float(value))):
                raise ValueError
            read = kind(float(value)) if kind in (int, float) else kind(value)
        except (TypeError, ValueError, OverflowError):
            raise UserError(f"The option {self.name} is {words}, received {value!r}.") from None
        is_known = read in self.choices if self.choices else self.minimum <= read <= self.maximum  # type: ignore[operator]
        if not is_known:
            raise UserError(f"The option {self.name} is {words}, received {value!r}.")
        return read


@dataclass(frozen=True, kw_only=True)
class MethodSpec:
    """An attribution method.

    Attributes:
        explain: a question to maps (N, h, w).
        summary: what the map shows, in a sentence.
        reference: the paper, as authors, year and arXiv number.
        works_on: "stage" (a stage with a map is chosen) or "input" (a map of pixels).
        misfit: network to the reason why the method does not fit it, "" if it does.
        is_signed: whether the map has places that speak against the answer, below zero.
        is_slow: whether it takes many passes through the network, so that its progress is worth showing.
        ignores_target: whether the map is the same whatever is asked.
        needs_logits: whether only sums of logits can be explained, no grades.
    """

    name: str
    title: str
    summary: str
    reference: str
    explain: "Callable[[Question], Tensor]"
    works_on: str = STAGE
    misfit: "Callable[[StagedNetwork], str]" = _fits_all
    options: tuple[Option, ...] = ()
    is_signed: bool = False
    is_slow: bool = False
    ignores_target: bool = False
    needs_logits: bool = False

    @property
    def is_at_stage(self) -> bool:
        """Whether a stage must be chosen."""
        return self.works_on == STAGE

    @property
    def reference_url(self) -> str:
        """Where the paper is."""
        return f"https://arxiv.org/abs/{self.reference.rpartition('arXiv:')[2].rstrip(')')}"

    def complete(self, given: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """All options, those that are not given at their defaults; raises UserError for an unknown or bad one."""
        known = {option.name: option for option in self.options}
        for name in given or {}:
            if name not in known:
                raise UserError(f"{self.title} has no option {name!r}; it knows: {', '.join(known) or 'none'}.")
        return {name: option.read((given or {}).get(name, option.default)) for name, option in known.items()}


def read_options(settings: Sequence[str]) -> dict[str, str]:
    """Texts "name=value" as a table; raises UserError for one without a "="."""
    for setting in settings:
        if "=" not in setting:
            raise UserError(f"An option is set by --set NAME=VALUE, received {setting!r}.")
    return {name.strip(): value.strip() for name, _, value in (setting.partition("=") for setting in settings)}


def needs_network(network: "StagedNetwork") -> str:
    """Misfit of hand-made measures: there is no network to look into."""
    if all(spec.output == "vector" for spec in network.stage_specs):
        return "This classifier has no network to look into: its features are made by hand-made filters."
    return ""


def needs_map(network: "StagedNetwork") -> str:
    """Misfit of networks without a stage that is a map."""
    from lib.explain.network import NO_MAPS, map_stage_names

    return needs_network(network) or ("" if map_stage_names(network) else NO_MAPS)


def needs_gradient(network: "StagedNetwork") -> str:
    """Misfit of heads that pass no gradient."""
    from lib.explain.attribution import NoGradient, is_differentiable

    return needs_network(network) or ("" if is_differentiable(network) else str(NoGradient()))


def needs_map_and_gradient(network: "StagedNetwork") -> str:
    """Misfit of networks without maps and of heads that pass no gradient."""
    return needs_map(network) or needs_gradient(network)


def needs_rectifiers(network: "StagedNetwork") -> str:
    """Misfit of networks that rectify by anything but ReLU."""
    from lib.explain.rectifiers import why_no_guided_rule

    return needs_gradient(network) or why_no_guided_rule(network)


def needs_guided_rule(network: "StagedNetwork") -> str:
    """The same, beside what Grad-CAM needs."""
    return needs_map_and_gradient(network) or needs_rectifiers(network)


def needs_deep_lift_rules(network: "StagedNetwork") -> str:
    """Misfit of networks with nonlinear steps that DeepLift has no rule for."""
    from lib.explain.rectifiers import why_no_deep_lift_rules

    return needs_gradient(network) or why_no_deep_lift_rules(network)
