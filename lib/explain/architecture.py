"""A network as drawings and as a table: what a stage hands on, and what is kept, trained or cut off in a transfer."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import nn

from lib.explain.network import evaluation_view
from lib.models.backbones import BackboneSpec
from lib.models.freezing import stage_plan
from lib.models.stages import StagedNetwork

KEPT, TRAINED, CUT_OFF = "kept", "trained", "cut off"
HEAD = "head"


@dataclass(frozen=True)
class StageBox:
    """One stage of a drawing. `shape` is without the batch: (C, H, W), (L, D) or (D,); empty where it is not known."""

    name: str
    title: str
    shape: tuple[int, ...]
    num_parameters: int
    state: str  # KEPT, TRAINED or CUT_OFF

    @property
    def shape_words(self) -> str:
        """The shape in words: "112 × 112 × 32" for a map, "49 × 768" for tokens, "1,280" for a vector."""
        shape = (*self.shape[1:], self.shape[0]) if len(self.shape) == 3 else self.shape
        return " × ".join(f"{size:,}" for size in shape)

    @property
    def short_shape(self) -> str:
        """The same in a few characters: "112² × 32" for a square map."""
        if len(self.shape) == 3 and self.shape[1] == self.shape[2]:
            return f"{self.shape[1]}² × {self.shape[0]:,}"
        return self.shape_words


@dataclass(frozen=True)
class Drawing:
    """A network before or after the surgery, from the image to the answer."""

    title: str
    sentence: str
    boxes: tuple[StageBox, ...]

    @property
    def num_trained(self) -> int:
        """Parameters that training changes."""
        return sum(box.num_parameters for box in self.boxes if box.state == TRAINED)

    @property
    def num_parameters(self) -> int:
        """Parameters of what is left of the network, the new head with it."""
        return sum(box.num_parameters for box in self.boxes if box.state != CUT_OFF)


def stage_shapes(network: StagedNetwork, input_size_px: int) -> dict[str, tuple[int, ...]]:
    """Stage -> shape of its output for one image of that side, without the batch, by one forward pass."""
    parameter = next(cast(nn.Module, network).parameters(), torch.empty(0))
    h = torch.zeros(1, 3, input_size_px, input_size_px, device=parameter.device, dtype=parameter.dtype)
    shapes = {}
    with evaluation_view(network) as view, torch.no_grad():
        for name, step in view.steps.items():
            h = step(h)
            shapes[name] = tuple(h.shape[1:])
    return shapes


def transfer_drawings(
    spec: BackboneSpec, shapes: Mapping[str, tuple[int, ...]], *, num_classes: int, unfreeze_from: str | None = None
) -> tuple[Drawing, Drawing, Drawing]:
    """The original network, the transfer with a new head, and fine-tuning from a stage, of a network of the table.

    Args:
        spec: the backbone.
        shapes: of its stages, see `stage_shapes`; a stage that is missing has no shape in the drawings.
        num_classes: of the new task.
        unfreeze_from: the first stage that fine-tuning trains, by default the table's.

    Raises:
        UserError: unknown stage, or one behind the stage that a new head reads.
    """
    used = {stage.name for stage in spec.stages_until(spec.feature_stage)}
    learned = f"learned on {spec.pretrained_on}" if spec.has_weights else "not trained yet"
    start = unfreeze_from or (spec.unfreeze_from if spec.unfreeze_from in used else spec.feature_stage)
    original = tuple(
        StageBox(stage.name, stage.title, shapes.get(stage.name, ()), stage.num_parameters, KEPT)
        for stage in spec.stages
    )
    drawings = [Drawing("Original network", f"{spec.title}, {learned}, with its own last layer.", original)]
    for title, trains, what in (
        ("Transfer, frozen backbone", "none", "Its last layer is cut off, only a new head is trained"),
        ("Fine-tuning", "partial", f"Trained from {start} on, with the new head"),
    ):
        plan = stage_plan(spec.name, trains, start if trains == "partial" else None, num_classes=num_classes)
        boxes = [
            StageBox(part.stage, part.title, (num_classes,) if part.stage == HEAD else shapes.get(part.stage, ()),
                     part.num_parameters, TRAINED if part.is_trainable else KEPT)
            for part in plan
        ]  # fmt: skip
        cut = [
            StageBox(stage.name, stage.title, shapes.get(stage.name, ()), stage.num_parameters, CUT_OFF)
            for stage in spec.stages
            if stage.name not in used
        ]
        drawing = Drawing(title, "", (*boxes[:-1], *cut, boxes[-1]))
        share = f"{drawing.num_trained:,} of {drawing.num_parameters:,} parameters"
        drawings.append(replace(drawing, sentence=f"{what}: {share}."))
    return drawings[0], drawings[1], drawings[2]
