"""The strategies between a frozen backbone and training from scratch, in one table, read by pages without torch.

To add a strategy, add an entry: nothing else names it.
"""

import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lib.models.heads import HEADS
from lib.registry import Registry


@dataclass(frozen=True, kw_only=True)
class StrategySpec:
    """What a strategy trains and how it is shown.

    `trains_backbone` is "none", "partial" (from `unfreeze_from` up) or "all"; `is_iterative` tells whether there are
    epochs and curves. `fit` names the "module:function" of lib/training that fits a head in one go on frozen features:
    the whole training of a strategy that is not iterative, the start of the head in one that is.
    `unfreezes_gradually` says that stages join from the last one down; `backbone` names the only source of features
    that the strategy takes, whatever backbone is chosen; `is_for_fundus` that it was made for fundus photographs and is
    not offered for others.

    `family` decides the colour (no_network, frozen, partly_tuned, fully_tuned, from_scratch), `line_dash` the line and
    `sign` the marker, as Plotly's symbol and as text; strategies of one family differ in both.
    """

    name: str
    title: str
    summary: str
    family: str
    trains_backbone: str = "none"
    default_head: str = "linear"
    is_iterative: bool = True
    fit: str = ""
    uses_pretrained: bool = True
    default_epochs: int = 0
    default_learning_rate: float = 0.0
    unfreezes_gradually: bool = False
    backbone: str = ""
    is_for_fundus: bool = False
    line_dash: str = "solid"
    sign: tuple[str, str] = ("cross", "✚")

    @property
    def starts_from_probe(self) -> bool:
        """Whether the head of a training in epochs begins as one that was fitted on the frozen features."""
        return self.is_iterative and bool(self.fit)

    def default_batchnorm(self, *, takes_head: bool = False) -> str:
        """What happens to BatchNorm in trained stages where nothing else is asked for; `takes_head`: of another run.

        A learned head knows the features as they were: the statistics of single batches would change them at the first
        step, and with them its answers (measured in docs/choose_a_strategy.md).
        """
        return "frozen" if self.starts_from_probe or takes_head else "trained"

    @property
    def remembers_images(self) -> bool:
        """Whether the head keeps the training images' features instead of weights."""
        return HEADS.get(self.default_head).keeps_samples

    @property
    def fit_head(self) -> Callable[..., Any]:
        """The function that fits the head; its arguments are those of `lib.training.sklearn_heads.fit_linear_probe`."""
        found: Callable[..., Any] = pkgutil.resolve_name(self.fit)
        return found


_FIT_PROBE = "lib.training.sklearn_heads:fit_linear_probe"
_FIT_SVM = "lib.training.sklearn_heads:fit_linear_svm"
STRATEGIES: Registry[StrategySpec] = Registry("strategy")
for _strategy in (
    StrategySpec(
        name="handcrafted_features",
        title="Hand-made features + SVM",
        summary="No network: filters made for fundus photographs count vessels and lesions; a linear SVM decides.",
        family="no_network",
        default_head="linear_svm",
        is_iterative=False,
        fit=_FIT_SVM,
        uses_pretrained=False,
        backbone="handcrafted",
        is_for_fundus=True,
        line_dash="dash",
        sign=("hexagon", "⬢"),
    ),
    StrategySpec(
        name="nearest_neighbors",
        title="Nearest neighbours",
        summary="No training: each image takes the class of the most similar training images (frozen features).",
        family="no_network",
        default_head="nearest_neighbors",
        is_iterative=False,
        fit="lib.training.sklearn_heads:fit_nearest_neighbors",
        line_dash="dot",
        sign=("circle", "●"),
    ),
    StrategySpec(
        name="linear_probe",
        title="Linear probe",
        summary="Transfer with a frozen backbone: logistic regression on its features. Seconds, and hard to overfit.",
        family="frozen",
        is_iterative=False,
        fit=_FIT_PROBE,
        sign=("diamond", "◆"),
    ),
    StrategySpec(
        name="linear_svm",
        title="Linear SVM",
        summary="Transfer with a frozen backbone: a linear support vector machine on its features, with probabilities.",
        family="frozen",
        default_head="linear_svm",
        is_iterative=False,
        fit=_FIT_SVM,
        line_dash="dash",
        sign=("pentagon", "⬟"),
    ),
    StrategySpec(
        name="feature_extraction",
        title="Frozen features + MLP head",
        summary="Transfer with a frozen backbone: a small neural network learns on its features.",
        family="frozen",
        default_head="mlp",
        default_epochs=30,
        default_learning_rate=1e-3,
        line_dash="dashdot",
        sign=("star", "★"),
    ),
    StrategySpec(
        name="partial_finetuning",
        title="Partial fine-tuning",
        summary="The generic early stages stay frozen; the last stages and the head adapt to the new domain.",
        family="partly_tuned",
        trains_backbone="partial",
        default_epochs=10,
        default_learning_rate=3e-4,
        sign=("triangle-down", "▼"),
    ),
    StrategySpec(
        name="gradual_unfreezing",
        title="Gradual unfreezing",
        summary="The head learns first; then one more stage joins every few epochs, from the last one down.",
        family="partly_tuned",
        trains_backbone="all",
        default_epochs=10,
        default_learning_rate=3e-4,
        unfreezes_gradually=True,
        line_dash="dash",
        sign=("triangle-right", "▶"),
    ),
    StrategySpec(
        name="probe_then_finetune",
        title="Probe, then fine-tune",
        summary="The linear probe is fitted first; then every stage adapts from there (LP-FT).",
        family="fully_tuned",
        trains_backbone="all",
        fit=_FIT_PROBE,
        default_epochs=8,
        default_learning_rate=2e-4,
        line_dash="dash",
        sign=("square", "■"),
    ),
    StrategySpec(
        name="full_finetuning",
        title="Full fine-tuning",
        summary="Every stage starts from the pretrained weights and adapts. Slow, strongest with enough images.",
        family="fully_tuned",
        trains_backbone="all",
        default_epochs=8,
        default_learning_rate=2e-4,
        sign=("triangle-up", "▲"),
    ),
    StrategySpec(
        name="from_scratch",
        title="From scratch",
        summary="No transfer: random weights, all of it trained on this data set alone. The control arm.",
        family="from_scratch",
        trains_backbone="all",
        uses_pretrained=False,
        default_epochs=15,
        default_learning_rate=1e-3,
        sign=("x", "✖"),
    ),
):
    STRATEGIES.add(_strategy)


def trains_stages(name: str) -> bool:
    """Whether the strategy of that name changes the backbone; one of another version is not known to."""
    return name in STRATEGIES and STRATEGIES.get(name).trains_backbone != "none"


def keeps_stages(name: str) -> bool:
    """Whether the strategy of that name leaves the backbone as it was; one of another version is not known to."""
    return name in STRATEGIES and not trains_stages(name)
