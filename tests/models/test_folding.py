from contextlib import nullcontext

import pytest
import torch
from torch import nn

from lib.errors import UserError
from lib.models.bundles import save_bundle, take_learned_head
from lib.models.classifier import build_classifier
from lib.models.folding import as_sigmoid_unit, fold_batchnorm
from lib.models.heads import build_head, can_take_head
from lib.models.stages import build_backbone


def with_statistics(head: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    for norm in (module for module in head.modules() if isinstance(module, nn.BatchNorm1d)):
        for tensor in (norm.running_mean, norm.bias.data):
            tensor.copy_(torch.randn(tensor.shape, generator=generator))
        for tensor in (norm.running_var, norm.weight.data):
            tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.2)
    return head.eval()


@pytest.mark.parametrize("name", ["mlp", "mlp_relu_batchnorm", "mlp_plain"])
def test_folding_batchnorm_leaves_the_outputs_equal(name: str) -> None:
    head = with_statistics(build_head(name, 12, 5, seed=1))
    folded = fold_batchnorm(head).eval()
    features = torch.randn(40, 12)
    with torch.no_grad():
        torch.testing.assert_close(folded(features), head(features), atol=1e-5, rtol=1e-5)
    kinds = [type(layer).__name__ for layer in folded]
    assert kinds == [type(layer).__name__ for layer in build_head("mlp_plain", 12, 5)]


def test_batchnorm_with_no_linear_layer_behind_it_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot be folded"):
        fold_batchnorm(nn.Sequential(nn.ReLU(), nn.BatchNorm1d(3)))


def test_two_logits_become_one_log_odds() -> None:
    linear = nn.Linear(4, 2)
    features = torch.randn(6, 4)
    with torch.no_grad():
        expected = linear(features).softmax(1)[:, 1]
        torch.testing.assert_close(as_sigmoid_unit(linear)(features)[:, 0].sigmoid(), expected)


def classifier_with(head: str, **options: object):
    backbone = build_backbone("mobilenet_v3_small", weights="random", seed=0)
    return build_classifier(backbone, head=head, num_classes=options.pop("num_classes", 2), **options).eval()


@pytest.mark.parametrize("output", ["softmax", "sigmoid"])
def test_learned_head_starts_another_training_with_the_same_output(tmp_path, output: str) -> None:
    source = classifier_with("mlp_relu_batchnorm", output=output, seed=3)
    with_statistics(source.head)
    save_bundle(tmp_path / "bundle", source, {}, base_digest="x")
    target = classifier_with("mlp_plain", output=output, seed=4)
    take_learned_head(target, tmp_path / "bundle")
    features = torch.randn(10, 576)
    with torch.no_grad():
        torch.testing.assert_close(target.head(features), source.head(features), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ({"head": "linear"}, "head mlp of that run does not fit into the head linear"),
        ({"head": "mlp_plain", "num_classes": 3}, "its number of classes is 2, here it is 3"),
        ({"head": "mlp_plain", "feature_stage": "block5"}, "its feature_stage is head_conv, here it is block5"),
    ],
)
def test_a_head_that_does_not_fit_is_refused(tmp_path, target: dict, message: str) -> None:
    save_bundle(tmp_path / "bundle", classifier_with("mlp"), {}, base_digest="x")
    with pytest.raises(UserError, match=message):
        take_learned_head(classifier_with(**target), tmp_path / "bundle")


@pytest.mark.slow
def test_the_rule_that_is_asked_before_a_training_agrees_with_the_tensors(tmp_path) -> None:
    heads = {
        name: classifier_with(name) for name in ("linear", "mlp", "mlp_relu_batchnorm", "mlp_plain", "mlp_two_layers")
    }
    for learned, source in heads.items():
        save_bundle(tmp_path / learned, source, {}, base_digest="x")
        for name, target in heads.items():
            with nullcontext() if can_take_head(name, learned) else pytest.raises(UserError, match="does not fit"):
                take_learned_head(target, tmp_path / learned)
