"""From one stored picture to the batch of one that an explanation runs through a network."""

from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from lib.data.network_input import InputFormat
from lib.models.stages import StagedNetwork


def make_batch(pixels: np.ndarray[Any, np.dtype[np.uint8]], network: StagedNetwork, preprocessing: Any) -> Tensor:
    """One picture (S, S, 3) as a batch (1, 3, size, size) on the network's device, in its dtype.

    `preprocessing` is whatever `InputFormat.of` reads.
    """
    parameter = next(cast(nn.Module, network).parameters(), torch.empty(0))
    wanted = InputFormat.of(preprocessing)
    return wanted.batch(pixels[None], device=parameter.device, dtype=parameter.dtype)
