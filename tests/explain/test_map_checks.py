"""Honest cards of methods of the table, the probability behind each kind of target, and methods over many images."""

import numpy as np
import pytest
import torch

from lib.errors import UserError
from lib.explain.map_checks import MethodRow, Picture, check_map, explained_probability, method_table
from lib.explain.targets import AT_OR_ABOVE, CLASS, DIFFERENCE, EXPECTED, Target
from lib.models.backbones import BACKBONES
from lib.models.stages import build_backbone

SIDE = 32
SPEC = BACKBONES.get("bundled_vgg")


@pytest.fixture(scope="module")
def network():
    return build_backbone(SPEC.name)


class Small:
    """The bundled network's preprocessing at a small side."""

    input_size_px, mean, std = SIDE, SPEC.mean, SPEC.std


def picture(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (SIDE, SIDE, 3)).astype(np.uint8)


def test_what_is_explained_is_a_share_of_one() -> None:
    logits = torch.log(torch.tensor([[0.2, 0.3, 0.5]]))
    for target, share in (
        (Target(CLASS, 2), 0.5),
        (Target(DIFFERENCE, 2, 1), 0.5 / 0.8),
        (Target(AT_OR_ABOVE, 1), 0.8),
        (Target(AT_OR_ABOVE, 1, limits=(0.5, 1.5)), 0.8),
        (Target(EXPECTED), (0.3 + 2 * 0.5) / 2),
    ):
        assert explained_probability(target, logits).item() == pytest.approx(share)


@pytest.mark.parametrize("target", [None, "expected", "1 - 0", ">=2", np.int64(3)])
def test_every_kind_of_target_has_its_card(network, target) -> None:
    names = [f"kind {number}" for number in range(SPEC.stages[-1].num_channels)]
    card = check_map(
        picture(0), network, preprocessing=Small, class_names=names, method="layer_cam", stage="block2", target=target
    )
    assert card.has_evidence
    assert card.own is not None
    assert 0 <= card.own.insertion <= 1
    is_class = target is None or isinstance(target, np.int64)
    assert (card.other_class_name != "") is is_class
    assert np.isfinite(card.other_class) == is_class


def test_methods_that_ignore_the_class_have_no_runner_up(network) -> None:
    card = check_map(
        picture(0), network, preprocessing=Small, class_names=(), method="eigen_cam", stage="block2"
    )  # fmt: skip
    assert card.other_class_name == ""


def test_bad_asks_are_one_sentence(network) -> None:
    ask = {"preprocessing": Small, "class_names": ()}
    with pytest.raises(UserError, match="attribution method"):
        check_map(picture(0), network, method="grad_cm", **ask)
    with pytest.raises(UserError, match="conv9"):
        check_map(picture(0), network, method="grad_cam", stage="conv9", **ask)
    with pytest.raises(UserError, match="two images or more"):
        method_table(network, [Picture(picture(0))], preprocessing=Small, methods=["grad_cam"])


@pytest.mark.slow
def test_a_table_of_methods_with_intervals_over_patients(network) -> None:
    mask = np.zeros((SIDE, SIDE), dtype=bool)
    mask[10:15, 10:15] = True
    pictures = [Picture(picture(seed), group, mask if seed else None) for seed, group in enumerate(("a", "a", ""))]
    told: list[tuple[int, int]] = []
    rows = method_table(
        network, pictures, preprocessing=Small, methods=["layer_cam", "saliency"], stage="block2",
        progress=lambda done, total, what: told.append((done, total)),
    )  # fmt: skip
    assert [row.method for row in rows] == ["layer_cam", "saliency"]
    assert told == [(step, 6) for step in range(1, 7)]
    for row in rows:
        assert row.num_images == 3
        assert row.gain.low <= row.gain.value <= row.gain.high
        assert -1 <= row.likeness.value <= 1
        assert 0 <= row.pointing.value <= 1
        assert row.mass_chance.value == pytest.approx(mask.mean())
        assert MethodRow.from_dict(row.to_dict()) == row
        assert row.beats_controls is (row.gain.low > 0)
    again = method_table(network, pictures[:2], preprocessing=Small, methods=["layer_cam"], stage="block2")
    assert again == method_table(network, pictures[:2], preprocessing=Small, methods=["layer_cam"], stage="block2")
