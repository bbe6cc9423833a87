"""All stages of a backbone in one pass: pooled outputs, and what BatchNorm layers meet."""

import torch
from torch import Tensor, nn

from lib.models.classifier import pool_features
from lib.models.folding import share_module_tree
from lib.models.stages import Backbone


class StageReader(nn.Module):
    """Pooled outputs (N, D) of all stages, then for each BatchNorm mean and variance (N, C) by image of its input.

    It shares the tensors of the backbone, which stays as it is. `norms` holds the layers of each stage that keep
    statistics, in the order in which their means and variances come.
    """

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        spec = backbone.spec
        own = {spec.feature_stage: spec.pooling}
        self.poolings = {
            name: (own.get(name, spec.stage(name).poolings[0]), spec.stage(name).num_prefix_tokens)
            for name in backbone.stages
        }
        self.stages: nn.ModuleDict = share_module_tree(backbone.stages).eval()  # type: ignore[assignment]
        self.norms = {
            name: [
                module
                for module in stage.modules()
                if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) and module.running_mean is not None
            ]
            for name, stage in self.stages.items()
        }

    def extra_repr(self) -> str:
        """What the outputs depend on besides stages and weights: an export is kept under it."""
        return str(self.poolings)

    @property
    def num_outputs(self) -> int:
        """How many tensors `forward` returns."""
        return len(self.stages) + 2 * sum(len(norms) for norms in self.norms.values())

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Images (N, 3, H, W), as the network reads them."""
        met: dict[nn.Module, tuple[Tensor, Tensor]] = {}

        def listen(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            places = list(range(2, inputs[0].ndim))
            variance, mean = torch.var_mean(inputs[0], places, correction=0) if places else (inputs[0] * 0, inputs[0])
            met[norm] = (mean, variance)

        all_norms = [norm for norms in self.norms.values() for norm in norms]
        handles = [norm.register_forward_pre_hook(listen) for norm in all_norms]
        outputs, hidden = [], images
        try:
            for name, stage in self.stages.items():
                hidden = stage(hidden)
                outputs.append(pool_features(hidden, *self.poolings[name]).flatten(1))
        finally:
            for handle in handles:
                handle.remove()
        return (*outputs, *(value for norm in all_norms for value in met[norm]))
