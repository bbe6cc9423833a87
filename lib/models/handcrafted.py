"""The explicit way as a stage: an image becomes the measures of lib/data/retina_measures.py; nothing in it learns.

As a backbone without a network it takes the same road as all others (cache, head, bundle, grading), so that it can be
compared with them.
"""

import numpy as np
import torch
from torch import Tensor, nn

from lib.data.retina_measures import measure_fundus


class RetinaMeasures(nn.Module):
    """Images (N, 3, S, S) from 0 to 1 to measures (N, D) in the order of `FEATURE_NAMES`; passes no gradients."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, S, S) to (N, D), float32, on the device of the images."""
        images = x.detach().float().clamp(0, 1).permute(0, 2, 3, 1).cpu().numpy()
        rows = [measure_fundus(np.ascontiguousarray(image)) for image in images]
        return torch.from_numpy(np.stack(rows)).to(x.device)


class HandcraftedNetwork(nn.Module):
    """The measures, and as last step nothing: there are no classes of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.measures = RetinaMeasures()
        self.logits = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, S, S) to (N, D)."""
        return self.logits(self.measures(x))
