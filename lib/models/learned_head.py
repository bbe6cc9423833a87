"""A head that an earlier run has learned, as the start of another training."""

from pathlib import Path

import torch
from torch import nn

from lib.errors import UserError
from lib.models.bundles import load_bundle
from lib.models.classifier import Classifier
from lib.models.folding import fold_batchnorm


def take_learned_head(classifier: Classifier, bundle: Path) -> None:
    """Put the head of a saved classifier into this one, which must read the same features.

    Where the saved head has a BatchNorm that this one lacks, it is folded into a linear layer beside it.

    Raises:
        UserError: another backbone, stage, pooling, number of classes or kind of head.
    """
    source = load_bundle(bundle).classifier
    for what, mine, other in (
        ("backbone", classifier.spec.name, source.spec.name),
        ("feature_stage", classifier.feature_stage, source.feature_stage),
        ("pooling", classifier.pooling, source.pooling),
        ("number of classes", classifier.num_classes, source.num_classes),
        ("number of features", classifier.head_options["feature_dim"], source.head_options["feature_dim"]),
    ):
        if mine != other:
            raise UserError(f"The head of that run cannot be taken: its {what} is {other}, here it is {mine}.")
    learned = _without_batchnorm(source.head) if _has_norm(source.head) > _has_norm(classifier.head) else source.head
    own, found = classifier.head.state_dict(), learned.state_dict()
    if {k: t.shape for k, t in own.items()} != {k: t.shape for k, t in found.items()}:
        raise UserError(
            f"The head {source.head_options['name']} of that run does not fit into the head "
            f"{classifier.head_options['name']}; choose the same head, or mlp_plain for one with BatchNorm folded."
        )
    with torch.no_grad():
        for key, tensor in own.items():
            tensor.copy_(found[key])


def _has_norm(head: nn.Module) -> bool:
    return any(isinstance(module, nn.BatchNorm1d) for module in head.modules())


def _without_batchnorm(head: nn.Module) -> nn.Module:
    """The head folded; a sigmoid head keeps its last layer, which has no parameters."""
    if not isinstance(head, nn.Sequential):
        return head
    if isinstance(head[0], nn.Sequential):
        return nn.Sequential(fold_batchnorm(head[0]), *list(head)[1:])
    return fold_batchnorm(head)
