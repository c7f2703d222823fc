"""The network that ships: plain 3x3 convolutions, which processors and int8 kernels are best at."""

import torch
from torch import nn

from fer.faces import CLASSES
from fer.training.networks.network import Network, batch_norm

_CHANNELS = (16, 32, 48)


class Convolution(nn.Module):
    """A 3x3 convolution; where it keeps the number of channels, its input is added."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.bn = batch_norm(outputs)
        self.residual = inputs == outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, inputs, H, W] -> [N, outputs, H, W]."""
        y = self.bn(self.conv(x))
        return (x + y if self.residual else y).relu()


class Compact(Network):
    """A small residual network (after He et al. 2016, arXiv:1512.03385).

    One convolution at full size, two at half and two at a quarter of it, where most of the
    parameters are. What was tried beside it stands in docs/experiments.md.

    width: factor on the channels 16, 32, 48; 1 gives 49,223 parameters
    """

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        stem, middle, last = (max(1, round(c * width)) for c in _CHANNELS)
        self.layers = nn.Sequential(
            Convolution(1, stem),
            nn.MaxPool2d(3, stride=2, padding=1),
            Convolution(stem, middle),
            Convolution(middle, middle),
            nn.MaxPool2d(3, stride=2, padding=1),
            Convolution(middle, last),
            Convolution(last, last),
        )
        self.head = nn.Conv2d(last, len(CLASSES), 1)

    def maps(self, x: torch.Tensor) -> torch.Tensor:
        """Maps [N, 7, H/4, W/4], sizes rounded up."""
        return self.head(self.layers(x))
