import pytest
import torch
from torch import nn

from lib.explain.method_spec import needs_deep_lift_rules
from lib.explain.methods import METHODS, offered_methods
from lib.explain.rectifiers import copy_for_rules, modified_gradient, nonlinear_steps, why_no_guided_rule
from lib.models.backbones import BACKBONES
from lib.models.stages import build_backbone
from tests.explain.tiny import TinyNetwork, tiny_batch

# What does not fit, by network; all else does.
MISFITS = {
    "bundled_vgg": {"deep_lift": "no rule for maximum pooling, the maximum over the image"},
    "inception_v3": {"deep_lift": "no rule for maximum pooling"},
    "mobilenet_v3_small": {
        "guided_grad_cam": "rectifies or gates by hardsigmoid, hardswish, products of two maps",
        "deep_lift": "no rule for hardsigmoid, hardswish, products of two maps",
    },
}


@pytest.mark.parametrize("name", [name for name in BACKBONES.names if name != "vgg16"])
def test_which_methods_fit_which_network(name: str):
    reasons = {method: why for method, why in offered_methods(build_backbone(name, weights="random")).items() if why}
    wanted = MISFITS.get(name, {})
    assert reasons.keys() == wanted.keys()
    assert all(wanted[method] in why for method, why in reasons.items())


def test_a_transformer_is_offered_maps_of_pixels():
    reasons = offered_methods(build_backbone("timm:test_vit", weights="random"))
    fitting = [method for method, why in reasons.items() if not why]
    assert fitting == ["integrated_gradients", "occlusion", "saliency"]
    assert "gelu" in reasons["deep_lift"]
    assert all("tokens" in reasons[method.name] for method in METHODS if method.is_at_stage)


class Functional(TinyNetwork):
    """The tiny network with one more rectifier, called as a function."""

    def forward_until(self, x, stage):
        return torch.relu(super().forward_until(x, stage))


class Smooth(TinyNetwork):
    """The tiny network without any rectifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stages["stem"][2] = self.stages["last"][1] = nn.Identity()


def test_functions_escape_the_rules():
    assert nonlinear_steps(TinyNetwork()).functions == frozenset()
    assert "also rectifies or gates by relu" in why_no_guided_rule(Functional())
    assert "no rule for relu" in needs_deep_lift_rules(Functional())
    assert why_no_guided_rule(Smooth()) == "Its rule is one for ReLU, and this network has none."
    assert needs_deep_lift_rules(Smooth()) == ""


@pytest.mark.parametrize("caps_are_ruled", [False, True])
@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2"])
def test_the_copy_answers_the_same_and_calls_each_module_once(name: str, *, caps_are_ruled: bool):
    network, batch = build_backbone(name, weights="random"), tiny_batch(2)
    private = copy_for_rules(network, caps_are_ruled=caps_are_ruled)
    assert set(map(id, private.parameters())) == set(map(id, network.parameters()))
    assert not any(isinstance(module, nn.ReLU6) for module in private.modules())
    calls = {module: 0 for module in private.modules() if isinstance(module, nn.ReLU)}
    for module in calls:
        module.register_forward_hook(lambda one, *_: calls.update({one: calls[one] + 1}))
    with torch.no_grad():
        torch.testing.assert_close(private(batch), network(batch), rtol=1e-4, atol=1e-6)
    assert set(calls.values()) == {1}


def test_what_a_channel_responds_to():
    """The projection of one channel of a stage down to the pixels, on a network that ends further up."""
    network, batch = TinyNetwork().requires_grad_(False), tiny_batch()

    def strength(net, images):
        return net.forward_until(images, "middle")[:, 2].amax(dim=(1, 2))

    guided = modified_gradient(network, "guided", batch, strength)
    plain = batch.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(strength(network, plain).sum(), plain)
    assert guided.shape == batch.shape
    # Nothing is seen outside the receptive field of the place that won.
    assert bool((guided[gradient == 0] == 0).all())
    assert not torch.equal(guided, gradient)
