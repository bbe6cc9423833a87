"""Each method by hand on a network small enough, and against captum's own answer on two large ones."""

import copy
import types
import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from captum.attr import (
    Deconvolution,
    DeepLift,
    GuidedBackprop,
    GuidedGradCam,
    IntegratedGradients,
    LayerGradCam,
    NoiseTunnel,
    Occlusion,
    Saliency,
)
from torch import Tensor, nn

from lib.errors import UserError
from lib.explain.attribution_map import attribute
from lib.explain.methods import METHODS
from lib.explain.targets import parse_target
from lib.models.backbones import BACKBONES, StageSpec
from lib.models.networks import build_network, seeded_initialization, split_into_stages
from lib.models.stages import Backbone
from tests.explain.tiny import TinyNetwork, tiny_batch

NAMES = (
    "grad_cam", "grad_cam_plus_plus", "layer_cam", "score_cam", "eigen_cam", "integrated_gradients", "occlusion",
    "saliency", "guided_grad_cam", "deep_lift",
)  # fmt: skip


def test_the_table_holds_the_methods():
    assert METHODS.names == NAMES
    assert all(method.summary.endswith(".") and "arXiv:" in method.reference for method in METHODS)
    assert METHODS.get("layer_cam").reference_url == "https://arxiv.org/abs/2107.02314"
    with pytest.raises(UserError, match=r"Unknown attribution method 'grad-cam'\. Did you mean 'grad_cam'\?"):
        METHODS.get("grad-cam")


class ByHand(nn.Module):
    """Two channels of 1 x 2 cells, relu(red) and relu(-green); class 0 = 4 sum(w * channels), class 1 = 0.

    The weights w are those of each place: [[1, 2], [-1, 3]].
    """

    stage_specs = (StageSpec("planes", "Planes", "map"), StageSpec("logits", "Logits", "vector"))

    def __init__(self) -> None:
        super().__init__()
        self.rectifier = nn.ReLU()
        self.weights = nn.Parameter(torch.tensor([[[1.0, 2.0]], [[-1.0, 3.0]]]))

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_until(x, "logits")

    def forward_until(self, x: Tensor, stage: str) -> Tensor:
        planes = self.rectifier(torch.stack([x[:, 0], -x[:, 1]], dim=1))
        return planes if stage == "planes" else self.forward_after(planes, "planes")

    def forward_after(self, h: Tensor, stage: str) -> Tensor:
        cells = F.adaptive_avg_pool2d(h, (1, 2))  # images of any size are averaged to the two places
        first = 4 * (cells * self.weights).sum(dim=(1, 2, 3))
        return torch.stack([first, torch.zeros_like(first)], dim=1)


def by_hand(method: str, target: object = 0, **options: object) -> list[list[float]]:
    """The map of red [[3, 1]], green [[-2, 5]]: the planes are [[3, 1]] and [[2, 0]], the answer 4 (3 + 2 - 2) = 12."""
    image = torch.zeros(1, 3, 1, 2)
    image[0, 0, 0], image[0, 1, 0] = torch.tensor([3.0, 1.0]), torch.tensor([-2.0, 5.0])
    (found,) = attribute(ByHand(), image, method=method, target=target, options=options)
    assert found.score == pytest.approx(12.0)
    return np.round(found.raw.astype(float), 5).tolist()


def test_grad_cam_by_hand():
    # Mean gradients: 4 (1 + 2) / 2 = 6 and 4 (-1 + 3) / 2 = 4. Map: 6 [3, 1] + 4 [2, 0] = [26, 6].
    assert by_hand("grad_cam") == [[26.0, 6.0]]


def test_grad_cam_plus_plus_by_hand():
    # First channel: gradients 4 and 8, sum of activations 4. Shares 16 / (32 + 4 * 64) = 1/18 and 64 / (128 + 4 * 512)
    # = 1/34; weight 4/18 + 8/34 = 0.457516. Second: gradients -4 (cut off) and 12, activations 2: 144 / (288 +
    # 2 * 1728) = 1/26, weight 12/26 = 0.461538. Map: [3 * 0.457516 + 2 * 0.461538, 0.457516].
    assert by_hand("grad_cam_plus_plus") == [[pytest.approx(2.295626, abs=2e-5), pytest.approx(0.457516, abs=2e-5)]]


def test_layer_cam_by_hand():
    # relu(4) * 3 + relu(-4) * 2 = 12; relu(8) * 1 + relu(12) * 0 = 8.
    assert by_hand("layer_cam") == [[12.0, 8.0]]


def test_score_cam_by_hand():
    # The masks of both channels are [1, 0]. Seen through them red is [3, 0], green [-2, 0]: both answer 4 (3 - 2) = 4,
    # so both weights are 1/2 and the map is ([3, 1] + [2, 0]) / 2.
    assert by_hand("score_cam") == [[2.5, 0.5]]
    # The stronger channel alone.
    assert by_hand("score_cam", max_channels=1) == [[3.0, 1.0]]


def test_eigen_cam_by_hand():
    # Places (3, 2) and (1, 0), centred (1, 1) and (-1, -1): the component is (1, 1) / sqrt(2), the places lie at
    # sqrt(2) and -sqrt(2) on it; the first is the stronger place, so it is positive.
    assert by_hand("eigen_cam") == [[round(2**0.5, 5), 0.0]]


def test_integrated_gradients_by_hand():
    # Both planes are linear from zero on: the gradient is the same at all steps. Red: 4 * 3 and 8 * 1; green: -2 passes
    # the plane -green with gradient 4 on its way: 4 * -2 = -8; 5 does not. [12 - 8, 8] = [4, 8], and 4 + 8 = 12.
    assert by_hand("integrated_gradients") == [[4.0, 8.0]]


def test_deep_lift_by_hand():
    assert by_hand("deep_lift") == [[4.0, 8.0]]
    with pytest.raises(UserError, match="explains a class or the difference of two"):
        by_hand("deep_lift", parse_target("expected", ("a", "b")))


def test_occlusion_by_hand():
    # Without the first pixel the answer is 8, without the second 4.
    assert by_hand("occlusion", window_px=1, stride_px=1) == [[4.0, 8.0]]


def test_saliency_by_hand():
    # Gradients by pixel: red 4 and 8, green 4 and 0; the largest of the colours.
    assert by_hand("saliency") == [[4.0, 8.0]]


def test_guided_grad_cam_by_hand():
    # Gradients at the planes are 4, 8 and -4, 12, positive ones pass: red 4, 8; green nothing, as plane 2 is off at the
    # second place. Times Grad-CAM [26, 6].
    assert by_hand("guided_grad_cam") == [[104.0, 48.0]]


def test_what_fails_the_check_of_random_weights_by_hand():
    assert by_hand("guided_backprop") == [[4.0, 8.0]]
    # Deconvolution passes on what is positive, whether the plane was on or not: red 4, 8; green 0, -12.
    assert by_hand("deconvolution") == [[4.0, -4.0]]


def test_a_difference_is_the_difference_of_maps_of_pixels():
    network, batch = TinyNetwork(), tiny_batch()
    maps = [attribute(network, batch, method="integrated_gradients", target=target)[0].raw for target in (1, 3)]
    (between,) = attribute(network, batch, method="integrated_gradients", target=parse_target("1 - 3", "abcde"))
    np.testing.assert_allclose(between.raw, maps[0] - maps[1], atol=1e-6)


# Against captum, on the uncut network.


@pytest.fixture(scope="module", params=[pytest.param("vgg16", marks=pytest.mark.slow), "resnet18"])
def pair(request: pytest.FixtureRequest) -> tuple[Backbone, nn.Module]:
    spec = BACKBONES.get(request.param)
    with seeded_initialization(0):
        network = build_network(spec).eval()
    backbone = Backbone(spec, split_into_stages(spec, network), weights="random").eval()
    return backbone.requires_grad_(False), network  # all parameters frozen


IMAGES = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
LAYERS = {"vgg16": ("conv4_3", "features.23"), "resnet18": ("layer3", "layer3")}
TARGETS = [3]


def assert_close(found: np.ndarray, expected: Tensor, scale: float = 0.0) -> None:
    wanted = expected.detach().numpy()
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5 * max(scale, float(np.abs(wanted).max())))


def with_own_rectifiers(network: nn.Module) -> nn.Module:
    """A copy in which each ReLU is called once, as captum's DeepLift asks for; VGG16 is so already."""

    def forward(block: nn.Module, x: Tensor) -> Tensor:
        h = block.bn2(block.conv2(block.relu(block.bn1(block.conv1(x)))))
        return block.relu_of_sum(h + (x if block.downsample is None else block.downsample(x)))

    copied = copy.deepcopy(network)
    for block in copied.modules():
        if hasattr(block, "downsample"):
            block.relu_of_sum = nn.ReLU()
            block.forward = types.MethodType(forward, block)
    return copied


CAPTUM: dict[str, Callable[[nn.Module, nn.Module], Tensor]] = {
    "grad_cam": lambda net, layer: LayerGradCam(net, layer).attribute(
        IMAGES.clone().requires_grad_(), target=TARGETS, relu_attributions=True
    )[:, 0],
    "guided_grad_cam": lambda net, layer: GuidedGradCam(net, layer).attribute(IMAGES.clone(), target=TARGETS).sum(1),
    "integrated_gradients": lambda net, _: IntegratedGradients(net).attribute(
        IMAGES.clone(), target=TARGETS, n_steps=4
    ).sum(1),
    "occlusion": lambda net, _: Occlusion(net).attribute(IMAGES, (3, 32, 32), (3, 32, 32), 0, TARGETS)[:, 0],
    "saliency": lambda net, _: Saliency(net).attribute(IMAGES.clone(), target=TARGETS).amax(1),
    "deep_lift": lambda net, _: DeepLift(with_own_rectifiers(net)).attribute(IMAGES.clone(), target=TARGETS).sum(1),
    "guided_backprop": lambda net, _: GuidedBackprop(net).attribute(IMAGES.clone(), target=TARGETS).sum(1),
    "deconvolution": lambda net, _: Deconvolution(net).attribute(IMAGES.clone(), target=TARGETS).sum(1),
}  # fmt: skip


@pytest.mark.parametrize("method", CAPTUM)
def test_equals_captum(method: str, pair: tuple[Backbone, nn.Module]):
    backbone, network = pair
    stage, layer = LAYERS[backbone.spec.name]
    hooked = copy.deepcopy(network)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = CAPTUM[method](hooked, hooked.get_submodule(layer))
    options = {"integrated_gradients": {"num_steps": 4}, "occlusion": {"stride_px": 32}}.get(method, {})
    where = stage if METHODS.get(method).is_at_stage else None
    maps = attribute(backbone, IMAGES, method=method, stage=where, target=TARGETS, options=options)
    # Occlusion is a difference of answers: it cannot be more precise than they are.
    scale = abs(maps[0].score) if method == "occlusion" else 0.0
    assert_close(np.stack([one.raw for one in maps]), expected, scale)


def of_formula(method: str, h: Tensor, g: Tensor, answer: Callable[[Tensor], Tensor]) -> Tensor:
    """The papers' formulas, written out place by place."""
    if method == "layer_cam":
        return torch.einsum("nchw,nchw->nhw", g.clamp(min=0), h).clamp(min=0)
    if method == "grad_cam_plus_plus":
        totals = h.sum(dim=(2, 3), keepdim=True)
        alpha = torch.nan_to_num(g**2 / (2 * g**2 + totals * g**3))
        weights = torch.einsum("nchw,nchw->nc", alpha, g.clamp(min=0))
    else:
        rows = []
        strongest = h.mean(dim=(2, 3)).topk(8).indices.sort().values  # behind a ReLU
        h = torch.stack([channels[kept] for channels, kept in zip(h, strongest, strict=True)])
        for channels, image in zip(h, IMAGES, strict=True):
            masks = F.interpolate(channels[:, None], (64, 64), mode="bilinear", align_corners=False)
            # Of each channel before it is enlarged, as torch-cam has it.
            low, high = channels.amin(dim=(1, 2)), channels.amax(dim=(1, 2))
            masks = (masks - low[:, None, None, None]) / (high - low)[:, None, None, None].clamp(min=1e-8)
            rows.append(answer(masks * image).softmax(0))
        weights = torch.stack(rows)
    return torch.einsum("nc,nchw->nhw", weights, h).clamp(min=0)


@pytest.mark.parametrize("method", ["grad_cam_plus_plus", "layer_cam", "score_cam"])
def test_equals_the_formulas_of_the_papers(method: str, pair: tuple[Backbone, nn.Module]):
    backbone, network = pair
    hooked, kept = copy.deepcopy(network), []
    stage, layer = LAYERS[backbone.spec.name]
    handle = hooked.get_submodule(layer).register_forward_hook(lambda *given: kept.append(given[2]))
    logits = hooked(IMAGES.clone().requires_grad_())
    handle.remove()
    (gradient,) = torch.autograd.grad(logits[:, 3].sum(), kept)
    with torch.no_grad():
        expected = of_formula(method, kept[0].detach(), gradient, lambda masked: hooked(masked)[:, 3])
    options = {"max_channels": 8} if method == "score_cam" else {}
    maps = attribute(backbone, IMAGES, method=method, stage=stage, target=3, options=options)
    assert_close(np.stack([one.raw for one in maps]), expected)


def test_smooth_gradients_are_those_of_captums_noise_tunnel():
    network, images = TinyNetwork(), tiny_batch(1)
    spread = 0.15 * float(images.max() - images.min())
    with torch.random.fork_rng():
        torch.manual_seed(5)
        expected = NoiseTunnel(Saliency(network)).attribute(
            images.clone(), nt_type="smoothgrad", nt_samples=4, nt_samples_batch_size=1, stdevs=spread, target=2
        )
    options = {"num_samples": 4}
    (found,) = attribute(network, images, method="saliency", target=2, options=options, seed=5)
    assert_close(found.raw[None], expected.amax(1))
    (other,) = attribute(network, images, method="saliency", target=2, options=options, seed=6)
    assert not np.array_equal(found.raw, other.raw)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        before = torch.random.get_rng_state()
        attribute(network, images, method="saliency", target=2, options=options, seed=5)
        assert torch.equal(before, torch.random.get_rng_state())
