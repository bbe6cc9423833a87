"""Pretrained networks as named stages: build one, run it up to, between and after stages."""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from lib.errors import UserError
from lib.models.backbone_spec import starting_weights
from lib.models.backbones import BACKBONES, BackboneSpec, StageSpec
from lib.models.bundled_weights import read_bundled_weights
from lib.models.networks import (
    build_network,
    seeded_initialization,
    split_into_stages,
    without_inplace,
    without_parameters,
)
from lib.models.timm_stages import load_timm
from lib.models.weights import check_digest, remedy_for, require_weights, weights_digest

_AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")
_COUNTER = "num_batches_tracked"  # of BatchNorm, which nothing reads in evaluation
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
Steps = Mapping[str, Callable[[Tensor], Tensor]] | nn.ModuleDict


class StagedNetwork(nn.Module):
    """A network as named steps, one after the other: what explanations and caches need of one."""

    @property
    @abstractmethod
    def stage_specs(self) -> tuple[StageSpec, ...]:
        """The specifications of the steps, in order."""

    @property
    @abstractmethod
    def steps(self) -> Steps:
        """Name -> what it does with the output of the one before."""

    def forward(self, x: Tensor) -> Tensor:
        """Images (N, 3, H, W) to the output of the last step."""
        return run_stages(self.steps, x)

    def forward_until(self, x: Tensor, stage: str) -> Tensor:
        """The output of `stage` (inclusive) for images (N, 3, H, W)."""
        return run_stages(self.steps, x, until=stage)

    def forward_after(self, h: Tensor, stage: str) -> Tensor:
        """What the network makes of the output `h` of `stage`."""
        return run_stages(self.steps, h, after=stage)

    def forward_between(self, h: Tensor, after: str, until: str) -> Tensor:
        """The output of `until` (inclusive), given the output `h` of `after`; `h` itself if both are the same."""
        return run_stages(self.steps, h, after=after, until=until)


class Backbone(StagedNetwork):
    """A network of the table, whole or cut after a stage, in an ordered `nn.ModuleDict`.

    `weights` ("pretrained" or "random") and `seed` say where the parameters came from.
    """

    def __init__(self, spec: BackboneSpec, stages: nn.ModuleDict, *, weights: str, seed: int = 0) -> None:
        super().__init__()
        self.spec = spec
        self.stages = stages
        self.weights = weights
        self.seed = seed

    @property
    def stage_specs(self) -> tuple[StageSpec, ...]:
        """The specifications of the stages that are here, in order."""
        return self.spec.stages[: len(self.stages)]

    @property
    def steps(self) -> nn.ModuleDict:
        """The stages."""
        return self.stages


def run_stages(stages: Steps, h: Tensor, *, after: str | None = None, until: str | None = None) -> Tensor:
    """Run the stages behind `after` up to `until`, by default all; raises UserError for unknown or reversed names."""
    names = list(stages)
    for stage in (after, until):
        if stage is not None and stage not in names:
            raise UserError(f"This network has no stage {stage!r}. Choose one of: {', '.join(names)}.")
    first = 0 if after is None else names.index(after) + 1
    last = len(names) - 1 if until is None else names.index(until)
    if last < first - 1:
        raise UserError(f"The stage {until!r} comes before {after!r}; swap the two.")
    for name in names[first : last + 1]:
        h = stages[name](h)
    return h


def build_backbone(name: str, *, weights: str = "pretrained", seed: int = 0, feature_only: bool = False) -> Backbone:
    """Build a backbone of the table in evaluation mode, fp32, channels_last.

    `weights` "pretrained" reads the file at hand, "random" is the network's own initialisation from `seed`;
    `feature_only` leaves out the stages behind the table's feature stage.

    Raises:
        UserError: unknown backbone or weights, or a damaged weights file.
        WeightsUnavailable: the file is not at hand; the message says how to get it.
    """
    spec = BACKBONES.get(name)
    if starting_weights(weights) == "pretrained":
        backbone = load_pretrained_backbone(name)
    else:
        with seeded_initialization(seed):
            stages = split_into_stages(spec, build_network(spec))
        backbone = Backbone(spec, stages, weights="random", seed=seed)
    if feature_only:
        keep_stages_until(backbone, spec.feature_stage)
    return backbone.to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload]


def load_pretrained_backbone(name: str) -> Backbone:
    """The backbone with the weights at hand, as stored (no memory format); raises like `build_backbone`."""
    spec, path = BACKBONES.get(name), require_weights(name)
    # Remembered for timm's, of which large files take seconds to read twice.
    digest = weights_digest(name, "pretrained") if spec.is_from_timm else None
    try:
        check_digest(spec, path, digest)
        if not spec.is_from_timm:
            return backbone_from_state(spec, read_bundled_weights(path) if spec.is_bundled else _read_tensors(path))
        with seeded_initialization(0):
            network = without_inplace(load_timm(name, _read_tensors(path)))
    except UserError as error:
        raise UserError(f"The weights file {path} cannot be used: {error} {remedy_for(spec)}") from error
    return Backbone(spec, split_into_stages(spec, network.eval()), weights="pretrained")


def empty_backbone(spec: BackboneSpec, *, weights: str, seed: int = 0) -> Backbone:
    """A backbone to be filled by `load_state_dict(assign=True)`, where possible without memory for its parameters."""
    # Some of timm's networks compute buffers that no file holds, which the meta device would leave empty.
    with seeded_initialization(0), torch.device("cpu") if spec.is_from_timm else without_parameters():
        network = build_network(spec)
    return Backbone(spec, split_into_stages(spec, network), weights=weights, seed=seed)


def backbone_from_state(spec: BackboneSpec, state: Mapping[str, Tensor]) -> Backbone:
    """A backbone from a state dictionary with the keys of the uncut network (auxiliary heads in it are dropped).

    Raises:
        UserError: keys or shapes are not those of this network.
    """
    with without_parameters():
        network = build_network(spec)
    kept = {
        key: tensor.float() if tensor.is_floating_point() else tensor
        for key, tensor in state.items()
        if not key.startswith(_AUXILIARY)
    }
    if spec.weights_are_ordered:
        kept = _renamed_by_order(kept, network)
    try:
        # assign: the tensors become the parameters, so that nothing is initialised or copied (VGG16: 0.5 GiB).
        network.load_state_dict(kept, strict=True, assign=True)
    except RuntimeError as error:
        first = str(error).splitlines()[1:2] or [str(error)]
        raise UserError(f"These are not the weights of {spec.title} ({first[0].strip()[:200]}).") from error
    return Backbone(spec, split_into_stages(spec, network), weights="pretrained")


def keep_stages_until(backbone: Backbone, stage: str) -> Backbone:
    """Drop the stages behind `stage` from the backbone, in place."""
    for spec in backbone.stage_specs[len(backbone.spec.stages_until(stage)) :]:
        del backbone.stages[spec.name]
    return backbone


def set_batchnorm_statistics(network: nn.Module, batch: Tensor) -> None:
    """Set the running statistics of every BatchNorm layer to those of one batch (N, 3, H, W) of two images or more.

    A random network needs it: with the initial statistics (mean 0, variance 1) its activations vanish or explode over
    depth. Dropout stays off, and modes are left as they were found.
    """
    if len(batch) < 2:
        raise UserError(f"BatchNorm statistics need at least two images, received {len(batch)}.")
    norms = [module for module in network.modules() if isinstance(module, _NORMS)]
    modes = [(module, module.training) for module in network.modules()]
    momenta = [norm.momentum for norm in norms]
    network.eval()
    try:
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # the plain average over batches, so exactly this batch
            norm.train()
        with torch.no_grad():
            network(batch)
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        for module, is_training in modes:
            module.training = is_training


def _read_tensors(path: Path) -> Mapping[str, Tensor]:
    if path.suffix == ".safetensors":
        try:
            return safetensors.torch.load_file(path)
        except (safetensors.SafetensorError, OSError, ValueError) as error:
            raise UserError(f"It is damaged or no safetensors file ({type(error).__name__}).") from error
    try:
        # weights_only: a pickle from an unknown source may run nothing.
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # unpickling damaged bytes raises nearly anything
        raise UserError(f"It is damaged or no PyTorch file ({type(error).__name__}).") from error
    if not isinstance(state, Mapping) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise UserError("It holds no table of tensors.")
    return state


def _renamed_by_order(state: Mapping[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """The tensors under the network's own names; BatchNorm's counters begin anew."""
    # The last matrix may be stored transposed: it would be added up in another order than in the network.
    given = [tensor.contiguous() for key, tensor in state.items() if not key.endswith(_COUNTER)]
    names = [key for key in network.state_dict() if not key.endswith(_COUNTER)]
    if len(given) != len(names):
        raise UserError(f"It holds {len(given)} tensors where the network has {len(names)}.")
    counters = {key: torch.tensor(0) for key in network.state_dict() if key.endswith(_COUNTER)}
    return {**dict(zip(names, given, strict=True)), **counters}
