import subprocess
import sys

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from lib.errors import UserError
from lib.models.folding import linear_from_logistic_regression
from lib.models.heads import HEADS, build_head


@pytest.mark.parametrize("num_classes", [2, 4])
@pytest.mark.parametrize("is_scaled", [True, False])
def test_folded_logistic_regression_gives_the_same_probabilities(num_classes, is_scaled):
    generator = np.random.default_rng(0)
    features = generator.normal(3.0, [0.1, 5.0, 1.0], (60, 3)).astype(np.float32)
    targets = np.arange(60) % num_classes
    features[:, 1] += targets
    scaler = StandardScaler().fit(features) if is_scaled else None
    scaled = scaler.transform(features) if scaler else features
    model = LogisticRegression(max_iter=1000).fit(scaled, targets)

    linear = linear_from_logistic_regression(scaler, model)
    probabilities = torch.softmax(linear(torch.from_numpy(features)), dim=1).detach().numpy()
    np.testing.assert_allclose(probabilities, model.predict_proba(scaled), atol=1e-4)


def test_binary_regression_becomes_two_opposite_logits():
    model = LogisticRegression()
    model.classes_, model.coef_, model.intercept_ = np.array([0, 1]), np.array([[2.0, -4.0]]), np.array([6.0])
    linear = linear_from_logistic_regression(None, model)
    assert linear.weight.tolist() == [[-1.0, 2.0], [1.0, -2.0]]
    assert linear.bias.tolist() == [-3.0, 3.0]


def test_classes_with_a_gap_are_refused():
    model = LogisticRegression().fit(np.array([[0.0], [1.0]]), [0, 2])
    with pytest.raises(ValueError, match="without a gap"):
        linear_from_logistic_regression(None, model)


def test_fewer_kept_samples_than_neighbors_and_many_queries():
    head = build_head("nearest_neighbors", 4, 2, num_neighbors=5)
    with pytest.raises(RuntimeError, match=r"call fit\(\) first"):
        head(torch.randn(1, 4))
    head.fit(torch.eye(4)[:2], torch.tensor([0, 1]))
    logits = head(torch.eye(4)[:2].repeat(600, 1))
    assert logits.shape == (1200, 2)
    assert logits.argmax(1).tolist() == [0, 1] * 600
    with pytest.raises(ValueError, match="got 2 and 1"):
        head.fit(torch.eye(2), torch.tensor([0]))


def test_mlp_is_the_table_of_256_units_and_seeded():
    head = build_head("mlp", 6, 3, seed=1)
    assert [type(module).__name__ for module in head] == ["Linear", "FeatureBatchNorm", "ReLU", "Dropout", "Linear"]
    assert (head[0].out_features, head[3].p, head[4].out_features) == (256, 0.5, 3)
    assert torch.equal(head[0].weight, build_head("mlp", 6, 3, seed=1)[0].weight)
    assert not torch.equal(head[0].weight, build_head("mlp", 6, 3, seed=2)[0].weight)
    assert build_head("mlp", 6, 3, hidden_dim=8)[0].out_features == 8


def test_mlp_takes_a_last_batch_of_one_in_training():
    head = build_head("mlp", 6, 3).train()
    before = head[1].running_mean.clone()
    assert head(torch.randn(1, 6)).shape == (1, 3)
    assert torch.equal(head[1].running_mean, before)
    head(torch.randn(4, 6))
    assert not torch.equal(head[1].running_mean, before)


def test_wrong_requests_are_refused():
    with pytest.raises(UserError, match="Unknown head 'svm'"):
        build_head("svm", 4, 2)
    with pytest.raises(UserError, match="at least two classes, received 1"):
        build_head("linear", 4, 1)
    with pytest.raises(UserError, match="'linear' has no option 'dropout'; it knows: none"):
        build_head("linear", 4, 2, dropout=0.1)


def hidden_layers(head: torch.nn.Sequential) -> list[tuple]:
    return [
        (type(layer).__name__, getattr(layer, "out_features", getattr(layer, "p", None)))
        for layer in head
        if type(layer).__name__ in ("Linear", "Dropout", "FeatureBatchNorm")
    ]


def test_the_heads_of_the_studies_have_their_layers():
    assert hidden_layers(build_head("mlp_two_layers", 6, 3)) == [
        ("Linear", 256), ("Dropout", 0.5), ("Linear", 128), ("Dropout", 0.5), ("Linear", 3),
    ]  # fmt: skip
    assert hidden_layers(build_head("mlp_4096_1072", 6, 3)) == [
        ("Linear", 4096), ("Linear", 1072), ("Dropout", 0.2), ("Linear", 3),
    ]  # fmt: skip
    assert hidden_layers(build_head("mlp_plain", 6, 3)) == [("Linear", 256), ("Dropout", 0.5), ("Linear", 3)]


@pytest.mark.parametrize("name", [head.name for head in HEADS if head.is_iterative])
def test_every_trained_head_starts_from_its_seed_and_passes_gradients(name):
    shape = (4, 6, 3, 3) if HEADS.get(name).reads == "map" else (4, 6)
    features = torch.randn(shape, requires_grad=True)
    head = build_head(name, 6, 3, seed=2)
    assert all(
        torch.equal(a, b) for a, b in zip(head.parameters(), build_head(name, 6, 3, seed=2).parameters(), strict=True)
    )
    logits = head(features)
    assert logits.shape == (4, 3)
    logits.square().sum().backward()
    assert features.grad.abs().sum() > 0


def test_fully_convolutional_head_is_the_mean_of_its_scores_at_any_size():
    head = build_head("fully_convolutional", 6, 3).eval()
    feature_map = torch.randn(2, 6, 5, 4)
    with torch.no_grad():
        scores = head[3](head[1](head[0](feature_map)))
        torch.testing.assert_close(head(feature_map), scores.flatten(2).mean(2))
        assert head(torch.randn(2, 6, 1, 9)).shape == (2, 3)


@pytest.mark.parametrize("name", [head.name for head in HEADS if head.is_iterative])
def test_sigmoid_unit_gives_binary_cross_entropy_and_its_gradient(name):
    torch.manual_seed(0)
    features = torch.randn((8, 6, 2, 2) if HEADS.get(name).reads == "map" else (8, 6))
    targets = torch.tensor([0, 1, 1, 0, 1, 0, 0, 1])
    head = build_head(name, 6, 2, output="sigmoid").eval()
    assert list(head.parameters())[-1].shape == (1,)  # one unit
    log_odds = head[0](features)[:, 0]
    logits = head(features)
    torch.testing.assert_close(logits.softmax(1)[:, 1], log_odds.sigmoid())
    binary = torch.nn.functional.binary_cross_entropy_with_logits(log_odds, targets.float())
    two_way = torch.nn.functional.cross_entropy(logits, targets)
    torch.testing.assert_close(two_way, binary)
    expected = torch.autograd.grad(binary, list(head.parameters()), retain_graph=True)
    for found, wanted in zip(torch.autograd.grad(two_way, list(head.parameters())), expected, strict=True):
        torch.testing.assert_close(found, wanted)


def test_sigmoid_for_more_classes_is_refused():
    with pytest.raises(UserError, match="this data set has 3; use output=softmax"):
        build_head("linear", 4, 3, output="sigmoid")
    with pytest.raises(UserError, match="Unknown output 'tanh'"):
        build_head("linear", 4, 2, output="tanh")


def test_table_of_heads_needs_no_torch():
    code = "import sys\nimport lib.models.heads\nassert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


# A single sigmoid unit is for heads that learn in epochs; the others are fitted to classes.
HEADS_AND_OUTPUTS = [(name, "softmax") for name in HEADS.names]
HEADS_AND_OUTPUTS += [(head.name, "sigmoid") for head in HEADS if head.is_iterative]


@pytest.mark.parametrize(("name", "output"), HEADS_AND_OUTPUTS)
def test_heads_hold_what_the_rule_says(name: str, output: str) -> None:
    head = build_head(name, 40, 2, output=output)
    assert HEADS.get(name).num_parameters(40, 2, output=output) == sum(p.numel() for p in head.parameters())
