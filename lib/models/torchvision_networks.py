"""torchvision's classifiers, randomly initialised, without auxiliary heads; importing this takes about a second."""

from functools import partial

from torch import Tensor, nn
from torchvision import models
from torchvision.models.googlenet import GoogLeNet, Inception
from torchvision.models.googlenet import InceptionAux as GoogLeNetAux
from torchvision.models.inception import (
    BasicConv2d,
    Inception3,
    InceptionA,
    InceptionAux,
    InceptionB,
    InceptionC,
    InceptionD,
    InceptionE,
)


class ConvolutionBlock(BasicConv2d):
    """Convolution, BatchNorm and ReLU like torchvision's, whose ReLU works in place."""

    def __init__(self, in_channels: int, out_channels: int, **options: int | tuple[int, int]) -> None:
        super().__init__(in_channels, out_channels, **options)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) in, (N, K, h, w) out."""
        return self.relu(self.bn(self.conv(x)))


def build_torchvision(name: str) -> nn.Module:
    """Build a network by torchvision's own name."""
    if name == "googlenet":
        return GoogLeNet(
            aux_logits=False,
            init_weights=True,
            blocks=[ConvolutionBlock, partial(Inception, conv_block=ConvolutionBlock), GoogLeNetAux],
        )
    if name == "inception_v3":
        kinds = (InceptionA, InceptionB, InceptionC, InceptionD, InceptionE, InceptionAux)
        return Inception3(
            aux_logits=False,
            init_weights=True,
            inception_blocks=[ConvolutionBlock, *(partial(kind, conv_block=ConvolutionBlock) for kind in kinds)],
        )
    network: nn.Module = models.get_model(name, weights=None)
    return network
