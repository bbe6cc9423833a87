"""The honest card: what fails is said to fail, what cannot be judged is not judged, and the network stays as it was."""

import json
import math
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from lib.errors import Stopped
from lib.explain.attribution import grad_cam
from lib.explain.faithfulness import Faithfulness
from lib.explain.honest_card import HonestCard, RandomisationStep, honest_card
from lib.features.frozen_stages import smooth_pictures
from lib.models.folding import share_module_tree
from lib.models.stages import build_backbone, set_batchnorm_statistics

SIDE = 64


def cam(network, batch: torch.Tensor) -> np.ndarray:
    return grad_cam(network, batch, stage=network.spec.cam_stage, target=0).maps[0]


def guided(network, batch: torch.Tensor) -> np.ndarray:
    from captum.attr import GuidedBackprop

    with torch.inference_mode(mode=False), torch.enable_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = GuidedBackprop(share_module_tree(network).eval()).attribute(batch.clone().requires_grad_(), target=0)
    return found[0].abs().sum(0).detach().numpy()


def probability(logits: torch.Tensor) -> torch.Tensor:
    return logits.softmax(dim=1)[:, 0]


def brightness() -> np.ndarray:
    return np.random.default_rng(0).random((SIDE, SIDE))


@pytest.fixture(scope="module")
def batch() -> torch.Tensor:
    return smooth_pictures(1, SIDE, seed=7)


def test_an_untrained_network_gets_its_verdict(batch: torch.Tensor) -> None:
    network = build_backbone("bundled_vgg", weights="random")
    set_batchnorm_statistics(network, smooth_pictures(4, SIDE, seed=0))
    card = honest_card(network, batch, guided, probability, brightness=brightness())
    assert card.level == "do not use"
    assert card.sentences()[:2] == [
        "Do not use this map.",
        "It does not depend on training: the network has not been trained.",
    ]
    assert set(card.controls) == {"twin", "edges", "middle", "random"}
    json.dumps(card.to_dict())


def test_guided_back_propagation_fails_and_the_card_says_so(batch: torch.Tensor) -> None:
    network = build_backbone("bundled_vgg")
    before = {name: value.clone() for name, value in network.state_dict().items()}
    told: list[int] = []
    card = honest_card(
        network, batch, guided, probability, brightness=brightness(), runner_up=("the next", cam),
        progress=lambda done, total, what: told.append(done / total),
    )  # fmt: skip
    assert card.depends_on_training == "no"
    assert "It does not depend on training: random weights give nearly the same." in card.sentences()
    assert told == sorted(told)
    assert told[-1] == 1.0
    assert not any(module._forward_hooks or module._backward_hooks for module in network.modules())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not any(parameter.grad is not None for parameter in network.parameters())


def test_a_map_of_zeros_is_no_evidence_and_nothing_else(batch: torch.Tensor) -> None:
    network = build_backbone("bundled_vgg")
    card = honest_card(network, batch, lambda *_: np.zeros((4, 4)), probability, brightness=brightness())
    assert card == HonestCard(has_evidence=False)
    assert card.sentences() == ["No evidence: at this stage nothing speaks for the answer."]
    assert card.level == "no evidence"
    json.dumps(card.to_dict())


def test_it_can_be_stopped_and_nothing_stays_behind(batch: torch.Tensor) -> None:
    network = build_backbone("bundled_vgg")
    modules = list(network.modules())

    def stop(*_: object) -> None:
        raise Stopped

    with pytest.raises(Stopped):
        honest_card(network, batch, guided, probability, brightness=brightness(), progress=stop)
    assert list(network.modules()) == modules
    assert not any(module._forward_hooks for module in network.modules())


def card_of(own: float, *, spearman: float = 0.0, **controls: float) -> HonestCard:
    """A card with given gains: only ROAD differs."""
    return HonestCard(
        has_evidence=True,
        own=Faithfulness(0.0, 0.0, 2 * own),
        controls={name: Faithfulness(0.0, 0.0, 2 * gain) for name, gain in controls.items()},
        randomisation=(RandomisationStep("head", spearman, 0.0), RandomisationStep("stem", spearman, 0.0)),
        flip=0.9,
    )


def test_the_verdict_follows_the_numbers() -> None:
    good = card_of(0.5, twin=0.1, edges=0.2, middle=0.3, random=0.0)
    assert good.level == "good"
    assert good.gained.gain == pytest.approx(0.35)
    assert card_of(0.5, twin=0.1, middle=0.6, random=0.0).level == "careful"
    assert "the middle" in card_of(0.5, twin=0.1, middle=0.6, random=0.0).sentences()[1]
    assert card_of(0.5, twin=0.6, random=0.0).level == "do not use"
    assert card_of(0.5, spearman=0.4, twin=0.1).level == "careful"
    assert card_of(0.5, spearman=-0.8, twin=0.1).level == "do not use"
    assert card_of(0.5, spearman=math.nan, twin=0.1).depends_on_training == "yes"  # nothing is left of the map


def test_masks_and_the_retina(batch: torch.Tensor) -> None:
    network = build_backbone("bundled_vgg")

    def corner(_network: nn.Module, _batch: torch.Tensor) -> np.ndarray:
        values = np.zeros((8, 8))
        values[1, 1] = 1.0
        return values

    lesion = np.zeros((SIDE, SIDE), dtype=bool)
    lesion[6:18, 6:18] = True
    rows, columns = np.mgrid[:SIDE, :SIDE]
    retina = np.hypot(rows - SIDE / 2, columns - SIDE / 2) < SIDE / 4
    card = honest_card(
        network, batch, corner, probability, brightness=brightness(), retina=retina,
        masks={"Bleeding": lesion, "None here": np.zeros_like(lesion)},
    )  # fmt: skip
    assert set(card.lesions) == {"Bleeding"}
    assert card.lesions["Bleeding"].pointing
    assert card.lesions["Bleeding"].mass > card.lesions["Bleeding"].area
    assert card.outside[0] > 0.9
    assert any("outside the retina" in sentence for sentence in card.sentences())
    assert card.depends_on_training == "no"  # the same whatever the weights
