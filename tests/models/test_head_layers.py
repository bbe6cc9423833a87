"""Layers of heads by themselves: pooling, neighbours and the votes they leave out, margins of support vectors."""

import math

import numpy as np
import pytest
import torch

from lib.models.head_layers import (
    BinaryLogits,
    FeatureBatchNorm,
    NearestNeighborsHead,
    SupportVectorHead,
    build_layers,
    neighbor_votes,
    pool_features,
)


def randn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_each_kind_of_output_becomes_features() -> None:
    maps, tokens, vectors = randn(2, 3, 4, 5), randn(2, 6, 3), randn(2, 3)
    assert torch.allclose(pool_features(maps, "average"), maps.mean((2, 3)), atol=1e-6)
    assert torch.equal(pool_features(maps, "flatten"), maps.reshape(2, 60))
    assert pool_features(maps, "none") is maps
    assert torch.equal(pool_features(tokens, "cls", 2), tokens[:, 0])
    assert torch.allclose(pool_features(tokens, "average", 2), tokens[:, 2:].mean(1))
    assert torch.equal(pool_features(tokens, "flatten", 2), tokens.reshape(2, 18))
    assert pool_features(vectors, "none") is vectors


def test_neighbors_vote_by_similarity() -> None:
    head = NearestNeighborsHead(2, 3, num_neighbors=2)
    head.fit(np.array([[1.0, 0.0], [0.0, 2.0], [-1.0, 0.0]]), np.array([0, 1, 2]))
    # (3, 4) has cosines 0.6 and 0.8 to the first two; weights exp(c / 0.07), so 1 / (1 + exp(0.2 / 0.07)) = 0.05431.
    probabilities = torch.softmax(head(torch.tensor([[3.0, 4.0]])), dim=1)[0]
    share = 1 / (1 + math.exp(0.2 / 0.07))
    expected = [0.99 * share + 0.01 / 3, 0.99 * (1 - share) + 0.01 / 3, 0.01 / 3]
    assert share == pytest.approx(0.05431, abs=1e-5)
    assert probabilities.tolist() == pytest.approx(expected, abs=1e-6)


def fitted(num_kept: int = 12, num_neighbors: int = 3) -> NearestNeighborsHead:
    head = NearestNeighborsHead(4, 3, num_neighbors=num_neighbors)
    head.fit(randn(num_kept, 4), torch.arange(num_kept) % 3)
    return head


def test_votes_of_ones_own_group_are_left_out() -> None:
    head, groups = fitted(), torch.arange(12) // 4
    found = head.votes_without_own(randn(12, 4), groups, groups)
    for group in range(3):
        others = NearestNeighborsHead(4, 3, num_neighbors=3)
        others.fit(randn(12, 4)[groups != group], (torch.arange(12) % 3)[groups != group])
        assert torch.allclose(found[groups == group], others(randn(12, 4)[groups == group]), atol=1e-5)
    assert not torch.allclose(found, head(randn(12, 4)), atol=1e-2)  # where each is its own nearest


def test_ones_own_group_has_no_weight_even_where_others_are_too_few() -> None:
    # Two neighbours are asked for, one is of another group: it alone votes.
    head = NearestNeighborsHead(2, 2, num_neighbors=2)
    head.fit(torch.eye(2), torch.tensor([0, 1]))
    found = head.votes_without_own(torch.eye(2), torch.tensor([7, 8]), torch.tensor([7, 8])).exp()
    assert found[0].tolist() == pytest.approx([0.005, 0.995], abs=1e-6)


@pytest.mark.parametrize("num_neighbors", [1, 3, 50])
def test_what_is_exported_votes_as_the_head_does(num_neighbors: int) -> None:
    head, features = fitted(num_neighbors=num_neighbors), randn(5, 4, seed=1)
    classes = torch.nn.functional.one_hot(head.targets, 3).float()
    found = neighbor_votes(features, head.features, classes, num_neighbors=num_neighbors)
    assert torch.allclose(found, head(features), atol=1e-6)


def test_a_single_sample_is_normalised_by_the_running_statistics() -> None:
    norm = FeatureBatchNorm(3).train()
    norm(randn(8, 3))
    one = randn(1, 3, seed=2)
    trained, before = norm(one), norm.running_mean.clone()
    assert torch.allclose(trained, norm.eval()(one))
    assert torch.equal(norm.running_mean, before)


@pytest.mark.parametrize("num_classes", [2, 3])
def test_margins_become_probabilities_by_platts_scale(num_classes: int) -> None:
    head, features = SupportVectorHead(4, num_classes), randn(5, 4)
    with torch.no_grad():
        for number, parameter in enumerate(head.parameters()):
            parameter.copy_(randn(*parameter.shape, seed=number))
        margins = features @ head.weight.T + head.bias
        each = torch.sigmoid(head.scale * margins + head.offset)
        expected = torch.cat([1 - each, each], 1) if num_classes == 2 else each / each.sum(1, keepdim=True)
        assert torch.allclose(head(features).softmax(1), expected, atol=1e-6)


def test_both_classes_of_a_sigmoid_unit_have_a_gradient() -> None:
    z = torch.tensor([[0.7], [-3.0]], requires_grad=True)
    logits = BinaryLogits()(z)
    assert logits.softmax(1)[:, 1].tolist() == pytest.approx(torch.sigmoid(z[:, 0]).tolist())
    assert [torch.autograd.grad(logits[:, k].sum(), z, retain_graph=True)[0].mean().item() for k in (0, 1)] == [
        -0.5,
        0.5,
    ]


def test_layers_follow_the_options() -> None:
    def names(**options: object) -> list[str]:
        return [type(layer).__name__ for layer in build_layers(4, 2, **options)]

    assert isinstance(build_layers(4, 2), torch.nn.Linear)
    two = {"first_dim": 8, "first_dropout": 0.0, "second_dim": 6, "second_dropout": 0.0}
    assert names(**two) == ["Linear", "ReLU", "Linear", "ReLU", "Dropout", "Linear"]  # none of 0 but the last
    assert names(norm="before", hidden_dim=8, dropout=0.1) == [
        "Linear",
        "FeatureBatchNorm",
        "ReLU",
        "Dropout",
        "Linear",
    ]
    assert names(norm="after", hidden_dim=8, dropout=0.1) == ["Linear", "ReLU", "FeatureBatchNorm", "Dropout", "Linear"]
    assert not build_layers(4, 2, hidden_dim=8, dropout=0.1)[0].bias.any()
