"""The convolutional network of a food tutorial (study 5), trained from random weights only: no weights are published.

With images of 128 px and ten classes it has 10,588,458 parameters, as published. The tutorial counts seven
convolutions, its own list of layers has the eight that give this number.
"""

from torch import Tensor, nn

BLOCK_CHANNELS = (32, 64, 128, 512)
FEATURE_DIM = 1024
_LAST_SIDE = 2  # of the last map at 128 px; other sizes are averaged to it, so that the dense layer fits
_DROPOUT, _DENSE_DROPOUT = 0.25, 0.5  # not stated in the source; usual for such a network


def _block(in_channels: int, out_channels: int, *, kernel: int, pool: int, dropout: float) -> nn.Sequential:
    """A convolution that keeps the size and one that loses its border, each with ReLU; then maximum and dropout."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel, padding="same"),
        nn.ReLU(),
        nn.Conv2d(out_channels, out_channels, kernel),
        nn.ReLU(),
        nn.MaxPool2d(pool),
        nn.Dropout(dropout),
    )


class CNNFood(nn.Module):
    """Four blocks, a dense layer of 1,024 units and `num_classes` logits; images of 78 px or more."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        c1, c2, c3, c4 = BLOCK_CHANNELS
        self.block1 = _block(3, c1, kernel=3, pool=2, dropout=_DROPOUT)
        self.block2 = _block(c1, c2, kernel=3, pool=2, dropout=_DROPOUT)
        self.block3 = _block(c2, c3, kernel=3, pool=2, dropout=_DROPOUT)
        self.block4 = _block(c3, c4, kernel=5, pool=4, dropout=_DROPOUT)
        # Dropout after the dense layer belongs to it here: a linear head on top is then the published network.
        self.fc1 = nn.Sequential(
            nn.AdaptiveAvgPool2d(_LAST_SIDE),
            nn.Flatten(1),
            nn.Linear(c4 * _LAST_SIDE**2, FEATURE_DIM),
            nn.ReLU(),
            nn.Dropout(_DENSE_DROPOUT),
        )
        self.logits = nn.Linear(FEATURE_DIM, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                # Glorot uniform, the default of Keras in which the network was published.
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Images (N, 3, H, W) to logits (N, num_classes)."""
        maps = self.block4(self.block3(self.block2(self.block1(x))))
        return self.logits(self.fc1(maps))
