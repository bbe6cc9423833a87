"""The small VGG-style network that ships with the program, pretrained on generated images (lib/pretraining)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BLOCK_CHANNELS = (32, 48, 96, 160, 256)
PROJECTION_DIM = 512
# The maps that the last blocks hand on: block 5 holds its own channels, then those of blocks 4 and 3.
FEATURE_CHANNELS = sum(BLOCK_CHANNELS[2:])


class ConvolutionBlock(nn.Module):
    """Two convolutions with BatchNorm and ReLU, then a maximum over 2 x 2.

    With `hands_on` the block's input follows its own channels, averaged over 2 x 2: the last map then holds what
    several depths saw, so that a head can weigh parts against textures (after DenseNet, Huang et al. 2017, arXiv
    1608.06993).
    """

    def __init__(self, in_channels: int, out_channels: int, *, hands_on: bool = False) -> None:
        super().__init__()
        self.layers = nn.Sequential()
        for layer in range(2):
            self.layers.append(
                nn.Conv2d(in_channels if layer == 0 else out_channels, out_channels, 3, padding=1, bias=False)
            )
            self.layers.append(nn.BatchNorm2d(out_channels))
            self.layers.append(nn.ReLU())
        self.hands_on = hands_on

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, K, H/2, W/2), K with the channels handed on."""
        own = F.max_pool2d(self.layers(x), 2)
        return torch.cat([own, F.avg_pool2d(x, 2)], dim=1) if self.hands_on else own


class MeanAndMaximum(nn.Module):
    """The mean and the maximum of each channel over the image: (N, C, H, W) to (N, 2 C)."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, 2 C)."""
        return torch.cat([x.mean((2, 3)), x.amax((2, 3))], dim=1)


class BundledVGG(nn.Module):
    """Blocks 1 to 5, mean and maximum, a projection, and the generated classes as logits (N, num_classes).

    The projection between features and classes keeps the features general (Wang et al. 2022, arXiv 2112.00496).
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        c1, c2, c3, c4, c5 = BLOCK_CHANNELS
        # Filters of 7 x 7 pixels, large enough for an eye to see edges and colour blobs in them; at every other
        # position only, which makes the whole network a third faster than a maximum over all positions.
        self.block1 = nn.Sequential(nn.Conv2d(3, c1, 7, stride=2, padding=3, bias=False), nn.BatchNorm2d(c1), nn.ReLU())
        self.block2 = ConvolutionBlock(c1, c2)
        self.block3 = ConvolutionBlock(c2, c3)
        self.block4 = ConvolutionBlock(c3, c4, hands_on=True)
        self.block5 = ConvolutionBlock(c4 + c3, c5, hands_on=True)
        self.pool = MeanAndMaximum()
        self.projection = nn.Sequential(
            nn.Linear(2 * FEATURE_CHANNELS, PROJECTION_DIM, bias=False), nn.BatchNorm1d(PROJECTION_DIM), nn.ReLU()
        )
        self.logits = nn.Linear(PROJECTION_DIM, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def features(self, x: Tensor) -> Tensor:
        """Images (N, 3, H, W) to features (N, 2 * FEATURE_CHANNELS)."""
        return self.pool(self.block5(self.block4(self.block3(self.block2(self.block1(x))))))

    def forward(self, x: Tensor) -> Tensor:
        """Images (N, 3, H, W) to logits (N, num_classes)."""
        return self.logits(self.projection(self.features(x)))
