"""`deep`, a larger network with most parameters where the maps are small."""

import torch
from torch import nn

from fer.training.networks.compact import Convolution
from fer.training.networks.network import Network

_STAGES = ((16, 1), (48, 2), (96, 4), (192, 3))
"""Channels and number of convolutions; pooling halves the size between them."""


class Deep(Network):
    """A residual network of 3x3 convolutions (after He et al. 2016, arXiv:1512.03385).

    Most convolutions are at small sizes, where a channel costs little time. Dropout drops channels
    of the last maps. The width is a factor on the channels; 1 gives 1,151,031 parameters.
    """

    def __init__(self, width: float, classes: int) -> None:
        super().__init__()
        layers, inputs = [], 1
        for stage, (channels, count) in enumerate(_STAGES):
            if stage:
                layers.append(nn.MaxPool2d(3, stride=2, padding=1))
            outputs = max(1, round(channels * width))
            for _ in range(count):
                layers.append(Convolution(inputs, outputs))
                inputs = outputs
        self.layers = nn.Sequential(*layers, nn.Dropout2d(0.2))
        self.head = nn.Conv2d(inputs, classes, 1)

    def maps(self, x: torch.Tensor) -> torch.Tensor:
        """Return class maps float [N, classes, H/8, W/8], sizes rounded up."""
        return self.head(self.layers(x))
