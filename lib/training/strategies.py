"""The strategies between a frozen backbone and training from scratch, in one table."""

from dataclasses import dataclass

from lib.registry import Registry


@dataclass(frozen=True)
class StrategySpec:
    """What a strategy trains and how it is shown.

    `family` decides the colour (no_network, frozen, partly_tuned, fully_tuned, from_scratch); `trains_backbone` is
    "none", "partial" (from `unfreeze_from` up) or "all"; `is_iterative` tells whether there are epochs and curves;
    `is_differentiable` tells whether the head passes gradients, which Grad-CAM needs; `starts_from_probe` that the head
    begins as the linear probe on the frozen features, `unfreezes_gradually` that stages join from the last one down;
    `backbone` names the only source of features that the strategy takes, whatever backbone is chosen; `is_for_fundus`
    that it was made for fundus photographs and is not offered for others.
    """

    name: str
    title: str
    summary: str
    family: str
    trains_backbone: str
    default_head: str
    is_iterative: bool
    is_differentiable: bool
    uses_pretrained: bool = True
    default_epochs: int = 0
    default_learning_rate: float = 0.0
    line_dash: str = "solid"
    starts_from_probe: bool = False
    unfreezes_gradually: bool = False
    backbone: str = ""
    is_for_fundus: bool = False


STRATEGIES: Registry[StrategySpec] = Registry("strategy")

STRATEGIES.add(
    StrategySpec(
        name="handcrafted_features",
        title="Hand-made features + SVM",
        summary="No network: filters made for fundus photographs count vessels and lesions; a linear SVM decides.",
        family="no_network",
        trains_backbone="none",
        default_head="linear_svm",
        is_iterative=False,
        is_differentiable=False,
        uses_pretrained=False,
        line_dash="dash",
        backbone="handcrafted",
        is_for_fundus=True,
    )
)
STRATEGIES.add(
    StrategySpec(
        name="nearest_neighbors",
        title="Nearest neighbours",
        summary="No training: each image takes the class of the most similar training images (frozen features).",
        family="no_network",
        trains_backbone="none",
        default_head="nearest_neighbors",
        is_iterative=False,
        is_differentiable=False,
        line_dash="dot",
    )
)
STRATEGIES.add(
    StrategySpec(
        name="linear_probe",
        title="Linear probe",
        summary="Transfer with a frozen backbone: logistic regression on its features. Seconds, and hard to overfit.",
        family="frozen",
        trains_backbone="none",
        default_head="linear",
        is_iterative=False,
        is_differentiable=True,
    )
)
STRATEGIES.add(
    StrategySpec(
        name="linear_svm",
        title="Linear SVM",
        summary="Transfer with a frozen backbone: a linear support vector machine on its features, with probabilities.",
        family="frozen",
        trains_backbone="none",
        default_head="linear_svm",
        is_iterative=False,
        is_differentiable=True,
        line_dash="dash",
    )
)
STRATEGIES.add(
    StrategySpec(
        name="feature_extraction",
        title="Frozen features + MLP head",
        summary="Transfer with a frozen backbone: a small neural network learns on its features.",
        family="frozen",
        trains_backbone="none",
        default_head="mlp",
        is_iterative=True,
        is_differentiable=True,
        default_epochs=30,
        default_learning_rate=1e-3,
        line_dash="dashdot",
    )
)
STRATEGIES.add(
    StrategySpec(
        name="partial_finetuning",
        title="Partial fine-tuning",
        summary="The generic early stages stay frozen; the last stages and the head adapt to the new domain.",
        family="partly_tuned",
        trains_backbone="partial",
        default_head="linear",
        is_iterative=True,
        is_differentiable=True,
        default_epochs=10,
        default_learning_rate=3e-4,
    )
)
STRATEGIES.add(
    StrategySpec(
        name="gradual_unfreezing",
        title="Gradual unfreezing",
        summary="The head learns first; then one more stage joins every few epochs, from the last one down.",
        family="partly_tuned",
        trains_backbone="all",
        default_head="linear",
        is_iterative=True,
        is_differentiable=True,
        default_epochs=10,
        default_learning_rate=3e-4,
        line_dash="dash",
        unfreezes_gradually=True,
    )
)
STRATEGIES.add(
    StrategySpec(
        name="probe_then_finetune",
        title="Probe, then fine-tune",
        summary="The linear probe is fitted first; then every stage adapts from there (LP-FT).",
        family="fully_tuned",
        trains_backbone="all",
        default_head="linear",
        is_iterative=True,
        is_differentiable=True,
        default_epochs=8,
        default_learning_rate=2e-4,
        line_dash="dash",
        starts_from_probe=True,
    )
)
STRATEGIES.add(
    StrategySpec(
        name="full_finetuning",
        title="Full fine-tuning",
        summary="Every stage starts from the pretrained weights and adapts. Slow, strongest with enough images.",
        family="fully_tuned",
        trains_backbone="all",
        default_head="linear",
        is_iterative=True,
        is_differentiable=True,
        default_epochs=8,
        default_learning_rate=2e-4,
    )
)
STRATEGIES.add(
    StrategySpec(
        name="from_scratch",
        title="From scratch",
        summary="No transfer: random weights, all of it trained on this data set alone. The control arm.",
        family="from_scratch",
        trains_backbone="all",
        default_head="linear",
        is_iterative=True,
        is_differentiable=True,
        uses_pretrained=False,
        default_epochs=15,
        default_learning_rate=1e-3,
    )
)
