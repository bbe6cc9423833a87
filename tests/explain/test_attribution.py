from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from captum.attr import LayerGradCam
from torch import nn

from lib.errors import UserError
from lib.explain.attribution import (
    NoCam,
    NoGradient,
    first_layer_filters,
    grad_cam,
    stage_activations,
    top_channels,
    trace_image,
)
from lib.explain.network import share_module_tree
from lib.models.backbones import StageSpec
from lib.models.classifier import build_classifier
from lib.models.stages import build_backbone
from tests.explain.tiny import LookupNetwork, TinyNetwork, tiny_batch

STAGES = ("stem", "middle", "last")


@pytest.fixture
def network() -> TinyNetwork:
    network = TinyNetwork()
    network.requires_grad_(False)
    return network


def snapshot(network: nn.Module) -> dict[str, object]:
    return {
        "tensors": {name: tensor.clone() for name, tensor in network.state_dict().items()},
        "requires_grad": [parameter.requires_grad for parameter in network.parameters()],
        "grads": [parameter.grad is None for parameter in network.parameters()],
        "modes": [module.training for module in network.modules()],
        "hooks": [
            len(hooks)
            for module in network.modules()
            for hooks in (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks)
        ],
    }


def assert_same(before: dict[str, object], after: dict[str, object]) -> None:
    tensors = before.pop("tensors")
    later = after.pop("tensors")
    assert all(torch.equal(tensors[name], later[name]) for name in tensors)
    assert before == after


class ByHand(nn.Module):
    """Two channels of 1 x 2 cells: the image's red plane and its negative; class 0 = 2 red - 1 negative."""

    stage_specs = (StageSpec("planes", "Planes", "map"), StageSpec("logits", "Logits", "vector"))
    weights = ((2.0, -1.0), (-2.0, 1.0))

    def forward_until(self, x, stage):
        planes = torch.stack([x[:, 0], -x[:, 0]], dim=1)
        return planes if stage == "planes" else self.forward_after(planes, "planes")

    def forward_between(self, h, after, until):
        return self.forward_after(h, after)

    def forward_after(self, h, stage):
        return h.mean(dim=(2, 3)) @ torch.tensor(self.weights).T if stage == "planes" else h


def test_worked_out_by_hand() -> None:
    batch = torch.zeros(1, 3, 1, 2)
    batch[0, 0] = torch.tensor([[3.0, -1.0]])
    # Class 0: logit = 2 * mean(red) - 1 * mean(-red) = 3 * mean(red) = 3; class 1: -3.
    # Gradient per cell: 2 / 2 = 1 for red, -1 / 2 for its negative; Grad-CAM weights are the same (constant) numbers.
    # Map = 1 * red - 0.5 * (-red) = 1.5 * red = [4.5, -1.5]; ReLU: [4.5, 0]; scaled: [1, 0].
    result = grad_cam(ByHand(), batch, stage="planes", target=0)
    np.testing.assert_allclose(result.maps, [[[1.0, 0.0]]])
    np.testing.assert_allclose(result.raw_max, [4.5])
    np.testing.assert_allclose(result.probabilities[:, 0], [1 / (1 + np.exp(-6))], rtol=1e-6)
    # Class 1: -1.5 * red = [-4.5, 1.5] -> [0, 1.5] -> [0, 1].
    result = grad_cam(ByHand(), batch, stage="planes", target=1)
    np.testing.assert_allclose(result.maps, [[[0.0, 1.0]]])
    np.testing.assert_allclose(result.raw_max, [1.5])


@pytest.mark.parametrize("stage", STAGES)
def test_equals_captum(network: TinyNetwork, stage: str) -> None:
    batch = tiny_batch(3)
    copied = share_module_tree(network)  # captum hooks its network, so it gets a copy
    reference = LayerGradCam(copied, copied.stages[stage])
    # captum needs a graph that reaches the layer; ours does not.
    expected = reference.attribute(batch.clone().requires_grad_(), target=[1, 4, 0], relu_attributions=True)
    result = grad_cam(network, batch, stage=stage, target=[1, 4, 0])
    raw = result.maps * result.raw_max[:, None, None]
    np.testing.assert_allclose(raw, expected[:, 0].detach().numpy(), rtol=1e-5, atol=1e-7)
    assert result.targets == (1, 4, 0)


def test_default_target_is_the_prediction(network: TinyNetwork) -> None:
    batch = tiny_batch(4)
    probabilities = network(batch).softmax(dim=1)
    result = grad_cam(network, batch, stage="last")
    assert result.targets == tuple(probabilities.argmax(dim=1).tolist())
    np.testing.assert_allclose(result.probabilities, probabilities.numpy(), rtol=1e-5)
    assert result.maps.shape == (4, 4, 4)
    assert result.maps.min() >= 0
    np.testing.assert_allclose(result.maps.max(axis=(1, 2))[result.raw_max > 0], 1.0)


def test_strip_equals_single_stages(network: TinyNetwork) -> None:
    batch = tiny_batch()
    strip = trace_image(network, batch).cams(2)
    assert tuple(strip) == STAGES
    assert [result.maps.shape for result in strip.values()] == [(1, 16, 16), (1, 8, 8), (1, 4, 4)]
    for stage, result in strip.items():
        np.testing.assert_allclose(result.maps, grad_cam(network, batch, stage=stage, target=2).maps, atol=1e-6)


def test_one_trace_gives_everything(network: TinyNetwork) -> None:
    batch = tiny_batch()
    trace = trace_image(network, batch)
    np.testing.assert_allclose(trace.probabilities, network(batch).softmax(dim=1)[0].numpy(), rtol=1e-6)
    activations = trace.activations()
    assert tuple(activations) == STAGES
    for stage, values in activations.items():
        np.testing.assert_allclose(values, np.abs(stage_activations(network, batch, stage)).mean(axis=0), rtol=1e-6)
    assert tuple(trace.cams(target=3)) == STAGES


@pytest.mark.parametrize("is_training", [False, True])
@pytest.mark.parametrize("requires_grad", [False, True])
def test_network_is_left_as_found(*, is_training: bool, requires_grad: bool) -> None:
    network = TinyNetwork().train(is_training)
    network.requires_grad_(requires_grad)
    before = snapshot(network)
    evaluated = grad_cam(share_module_tree(network).eval(), tiny_batch(), stage="middle", target=0)
    result = grad_cam(network, tiny_batch(), stage="middle", target=0)
    trace_image(network, tiny_batch()).cams()
    np.testing.assert_array_equal(result.maps, evaluated.maps)  # explained in evaluation mode all the same
    assert_same(before, snapshot(network))


def test_network_is_left_as_found_after_an_exception() -> None:
    network = TinyNetwork().train()
    before = snapshot(network)
    with pytest.raises(UserError, match="no class number 5"):
        grad_cam(network, tiny_batch(), stage="last", target=5)
    with pytest.raises(RuntimeError):
        trace_image(network, torch.zeros(1, 4, 32, 32)).cams()
    assert_same(before, snapshot(network))
    assert torch.is_grad_enabled()


def test_works_inside_inference_mode(network: TinyNetwork) -> None:
    expected = grad_cam(network, tiny_batch(), stage="last", target=1)
    with torch.inference_mode():
        batch = tiny_batch() * 1.0  # an inference tensor
        result = grad_cam(network, batch, stage="last", target=1)
        strip = trace_image(network, batch).cams(1)
        assert torch.is_inference_mode_enabled()
    np.testing.assert_array_equal(result.maps, expected.maps)
    np.testing.assert_allclose(strip["last"].maps, expected.maps, atol=1e-6)


def test_eight_threads_equal_serial(network: TinyNetwork) -> None:
    batches = [tiny_batch(seed=seed) for seed in range(24)]
    serial = [trace_image(network, batch).cams() for batch in batches]
    with ThreadPoolExecutor(max_workers=8) as pool:
        parallel = list(pool.map(lambda batch: trace_image(network, batch).cams(), batches))
    for one, other in zip(serial, parallel, strict=True):
        for stage in STAGES:
            np.testing.assert_array_equal(one[stage].maps, other[stage].maps)
            assert one[stage].targets == other[stage].targets


def test_training_mode_in_eight_threads_moves_no_statistics() -> None:
    network = TinyNetwork().train()
    before = snapshot(network)
    with ThreadPoolExecutor(max_workers=8) as pool:
        results = list(pool.map(lambda _: grad_cam(network, tiny_batch(), stage="stem", target=3).maps, range(16)))
    assert all(np.array_equal(results[0], maps) for maps in results)
    assert_same(before, snapshot(network))


def test_nearest_neighbors_have_no_map() -> None:
    # Its votes have a graph, but neighbours of one class give a gradient of zero: a map of nothing would mislead.
    backbone = build_backbone("mobilenet_v3_small", weights="random", feature_only=True)
    classifier = build_classifier(backbone, head="nearest_neighbors", num_classes=2).eval()
    classifier.head.fit(torch.randn(6, 576), torch.tensor([0, 0, 0, 1, 1, 1]))
    with pytest.raises(NoGradient, match="similar images"):
        grad_cam(classifier, tiny_batch(), stage="head_conv")
    with pytest.raises(NoGradient):
        trace_image(classifier, tiny_batch()).cams()
    assert list(trace_image(classifier, tiny_batch()).activations())[-1] == "head_conv"


def test_a_real_classifier() -> None:
    backbone = build_backbone("mobilenet_v3_small", weights="random", feature_only=True)
    classifier = build_classifier(backbone, head="linear", num_classes=3).eval()
    strip = trace_image(classifier, tiny_batch()).cams(1)
    assert list(strip) == [stage.name for stage in classifier.stage_specs if stage.output == "map"]
    assert all(result.targets == (1,) for result in strip.values())


def test_head_without_gradient_says_why() -> None:
    with pytest.raises(NoGradient, match="passes no useful gradient"):
        grad_cam(LookupNetwork(), tiny_batch(), stage="last")
    with pytest.raises(NoGradient, match="activation maps"):
        trace_image(LookupNetwork(), tiny_batch()).cams()


def test_a_map_of_zeros_stays_zero(network: TinyNetwork) -> None:
    with torch.no_grad():
        network.stages["logits"][3].weight.zero_()
    result = grad_cam(network, tiny_batch(), stage="last", target=0)
    assert result.raw_max.tolist() == [0.0]
    assert not result.maps.any()


def test_networks_of_tokens_have_no_grad_cam_and_say_why():
    network = build_backbone("timm:test_vit", weights="random")
    trace = trace_image(network, torch.randn(1, 3, 160, 160))
    assert trace.activations()["features"].shape == (10, 10)
    with pytest.raises(NoCam, match=r"works on tokens.*no map of channels for Grad-CAM"):
        trace.cams()
    with pytest.raises(UserError, match="works on tokens"):
        grad_cam(network, torch.randn(1, 3, 160, 160), stage="blocks_2")


def test_of_maps_and_tokens_the_maps_are_explained():
    class Mixed(TinyNetwork):
        @property
        def stage_specs(self):
            specs = list(super().stage_specs)
            specs[2] = StageSpec("last", "Last", "tokens", num_channels=16, is_on_grid=True)
            return tuple(specs)

        def _run(self, h, first, end):
            if h.ndim == 3:
                h = h.transpose(1, 2).reshape(len(h), 16, 4, 4)
            h = super()._run(h, first, end)
            return h.flatten(2).transpose(1, 2) if end == 3 else h

    assert list(trace_image(Mixed(), tiny_batch()).activations()) == ["stem", "middle", "last"]
    cams, expected = (trace_image(network, tiny_batch()).cams(1) for network in (Mixed(), TinyNetwork()))
    assert list(cams) == ["stem", "middle"]
    np.testing.assert_allclose(cams["middle"].maps, expected["middle"].maps, atol=1e-6)


def test_filters_are_scaled_around_grey() -> None:
    network = TinyNetwork()
    with torch.no_grad():
        network.stages["stem"][0].weight[0].zero_()
        network.stages["stem"][0].weight[1].fill_(0.25)
        network.stages["stem"][0].weight[1, 2, 0, 1] = -0.5  # blue, row 0, column 1
    filters = first_layer_filters(network)
    assert filters.shape == (8, 3, 3, 3)
    assert filters.min() >= 0
    assert filters.max() <= 1
    np.testing.assert_array_equal(filters[0], 0.5)
    # 0.25 / 0.5 / 2 + 0.5 = 0.75, and -0.5 / 0.5 / 2 + 0.5 = 0.
    assert filters[1, 0, 1].tolist() == [0.75, 0.75, 0.0]
    assert filters[1, 2, 2].tolist() == [0.75, 0.75, 0.75]


def test_a_colour_transform_is_no_filter_bank() -> None:
    network = nn.Sequential(nn.Conv2d(3, 3, 1), nn.Conv2d(3, 7, 5))
    assert first_layer_filters(network).shape == (7, 5, 5, 3)
    with pytest.raises(UserError, match="no convolution"):
        first_layer_filters(nn.Sequential(nn.Linear(3, 4)))


def test_activations_are_the_stage_outputs() -> None:
    network = TinyNetwork().train()
    batch = tiny_batch()
    expected = TinyNetwork().forward_until(batch, "middle")[0].detach().numpy()
    np.testing.assert_array_equal(stage_activations(network, batch, "middle"), expected)
    assert network.training
    strip = trace_image(network, batch).activations()
    assert [values.shape for values in strip.values()] == [(16, 16), (8, 8), (4, 4)]
    np.testing.assert_allclose(strip["middle"], np.abs(expected).mean(axis=0), rtol=1e-6)
    with pytest.raises(UserError, match="vector"):
        stage_activations(network, batch, "logits")


def test_top_channels_rank_by_mean_magnitude() -> None:
    activations = np.zeros((4, 1, 2), dtype=np.float32)
    activations[1] = [[0.0, 5.0]]  # mean 2.5
    activations[2] = [[-4.0, -4.0]]  # mean magnitude 4
    activations[3] = [[2.5, 2.5]]  # mean 2.5, after channel 1
    assert top_channels(activations, 3).tolist() == [2, 1, 3]
    assert top_channels(activations, 9).tolist() == [2, 1, 3, 0]


def test_a_transformer_shows_its_tokens_and_its_first_filters():
    network = build_backbone("timm:test_vit", weights="random")
    batch = torch.randn(1, 3, 160, 160)
    strip = trace_image(network, batch).activations()
    assert list(strip) == [*(f"blocks_{number}" for number in range(6)), "features"]
    assert {maps.shape for maps in strip.values()} == {(10, 10)}
    assert stage_activations(network, batch, "blocks_3").shape == (64, 10, 10)
    assert first_layer_filters(network).shape == (64, 16, 16, 3)
    with pytest.raises(UserError, match=r"The stage 'pool' has no map \(its output is a vector\)"):
        stage_activations(network, batch, "pool")
