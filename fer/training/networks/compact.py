"""`compact`, the network of the released models: plain 3x3 convolutions, fast in int8 too."""

import torch
from torch import nn

from fer.training.networks.network import Network, batch_norm

_CHANNELS = (16, 32, 40, 64)


class Convolution(nn.Module):
    """Convolution, BatchNorm and ReLU; if the channels stay as many, the input is added.

    If `separable`, the 3x3 convolution is depthwise, followed by a 1x1 convolution.
    """

    def __init__(self, inputs: int, outputs: int, *, separable: bool = False) -> None:
        super().__init__()
        if separable:
            depthwise = nn.Conv2d(inputs, inputs, 3, padding=1, groups=inputs, bias=False)
            self.conv = nn.Sequential(depthwise, nn.Conv2d(inputs, outputs, 1, bias=False))
        else:
            self.conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.bn = batch_norm(outputs)
        self.residual = inputs == outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map float [N, inputs, H, W] to [N, outputs, H, W]."""
        y = self.bn(self.conv(x))
        return (x + y if self.residual else y).relu()


class Compact(Network):
    """A small residual network (after He et al. 2016, arXiv:1512.03385).

    It has one convolution at full size, two at half size and five at a quarter. The last three are
    separable (Howard et al. 2017, arXiv:1704.04861). docs/experiments.md has the alternatives.
    The width is a factor on the channels 16, 32, 40, 64; 1 gives 53,311 parameters for 7 classes.
    """

    def __init__(self, width: float, classes: int) -> None:
        super().__init__()
        stem, middle, late, last = (max(1, round(c * width)) for c in _CHANNELS)
        self.layers = nn.Sequential(
            Convolution(1, stem),
            nn.MaxPool2d(3, stride=2, padding=1),
            Convolution(stem, middle),
            Convolution(middle, middle),
            nn.MaxPool2d(3, stride=2, padding=1),
            Convolution(middle, late),
            Convolution(late, late),
            Convolution(late, last, separable=True),
            Convolution(last, last, separable=True),
            Convolution(last, last, separable=True),
        )
        self.head = nn.Conv2d(last, classes, 1)

    def maps(self, x: torch.Tensor) -> torch.Tensor:
        """Return class maps float [N, classes, H/4, W/4], sizes rounded up."""
        return self.head(self.layers(x))
