"""Drawings of a transfer: what is kept, trained and cut off, and the shapes between the stages."""

import pytest
import torch

from lib.errors import UserError
from lib.explain.architecture import CUT_OFF, KEPT, TRAINED, StageBox, stage_shapes, transfer_drawings
from lib.models.backbones import BACKBONES
from lib.models.stages import build_backbone

SPEC = BACKBONES.get("mobilenet_v3_small")


def test_shapes_are_those_of_a_forward_pass_and_nothing_is_touched() -> None:
    network = build_backbone(SPEC.name, weights="random").train()
    shapes = stage_shapes(network, 64)
    assert list(shapes) == list(SPEC.stage_names)
    assert shapes["stem"] == (16, 32, 32)  # a convolution of stride 2
    assert shapes["logits"] == (1000,)
    with torch.no_grad():
        assert network.eval().forward_until(torch.zeros(1, 3, 64, 64), "block2").shape[1:] == shapes["block2"]


def test_what_is_kept_trained_and_cut_off() -> None:
    shapes = {stage.name: (stage.num_channels,) for stage in SPEC.stages}
    original, transfer, tuned = transfer_drawings(SPEC, shapes, num_classes=5, unfreeze_from="block4")
    assert {box.state for box in original.boxes} == {KEPT}
    assert original.num_parameters == SPEC.num_parameters
    assert [box.name for box in transfer.boxes if box.state == TRAINED] == ["head"]
    head = SPEC.feature_dim * 5 + 5
    assert (transfer.num_trained, transfer.boxes[-1].shape) == (head, (5,))
    assert f"{head:,} of {transfer.num_parameters:,} parameters" in transfer.sentence
    used = SPEC.stages_until(SPEC.feature_stage)
    behind = [stage.name for stage in SPEC.stages if stage not in used]
    assert [box.name for box in tuned.boxes if box.state == CUT_OFF] == behind
    trained = used[[stage.name for stage in used].index("block4") :]
    assert tuned.num_trained == head + sum(stage.num_parameters for stage in trained)
    # The same stages in the same order, so that the drawings stand under each other.
    assert [box.name for box in tuned.boxes[:-1]] == [box.name for box in original.boxes]


def test_every_network_of_the_table_has_its_drawings() -> None:
    for spec in BACKBONES:
        for drawing in transfer_drawings(spec, {}, num_classes=2):
            assert drawing.boxes


def test_a_stage_that_no_head_reads_cannot_be_unfrozen() -> None:
    with pytest.raises(UserError, match="logits"):
        transfer_drawings(SPEC, {}, num_classes=5, unfreeze_from="logits")


def test_shapes_in_words() -> None:
    boxes = [StageBox("a", "A", shape, 0, KEPT) for shape in ((32, 112, 112), (8, 4, 6), (50, 768), (1280,), ())]
    assert [box.shape_words for box in boxes] == ["112 × 112 × 32", "4 × 6 × 8", "50 × 768", "1,280", ""]
    assert [box.short_shape for box in boxes] == ["112² × 32", "4 × 6 × 8", "50 × 768", "1,280", ""]
