"""`mini-xception`, the network of the base project, for comparison."""

import torch
from torch import nn

from fer.training.networks.network import Network, batch_norm

_CHANNELS = (8, 16, 32, 64, 128)


class SeparableConv(nn.Sequential):
    """Depthwise 3x3 convolution, followed by a 1x1 convolution."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(inputs, inputs, 3, padding=1, groups=inputs, bias=False)
        self.pointwise = nn.Conv2d(inputs, outputs, 1, bias=False)


class Block(nn.Module):
    """Two separable convolutions and a pooling to half the size, with a 1x1 shortcut."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.shortcut = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.shortcut_bn = batch_norm(outputs)
        self.conv1 = SeparableConv(inputs, outputs)
        self.bn1 = batch_norm(outputs)
        self.conv2 = SeparableConv(outputs, outputs)
        self.bn2 = batch_norm(outputs)
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        # This pooling and the 1x1 shortcut equal a 1x1 convolution with stride 2. With 8 channels,
        # oneDNN's backward pass of that convolution writes out of bounds (torch 2.15, AVX-512).
        self.every_other = nn.AvgPool2d(1, stride=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map float [N, inputs, H, W] to [N, outputs, H/2, W/2], sizes rounded up."""
        residual = self.bn1(self.conv1(x)).relu()
        residual = self.pool(self.bn2(self.conv2(residual)))
        return self.shortcut_bn(self.shortcut(self.every_other(x))) + residual


class MiniXception(Network):
    """Mini-Xception (Arriaga, Valdenegro-Toro and Ploeger 2017, arXiv:1710.07557).

    The width is a factor on the channels 8, 16, 32, 64, 128; 1 gives 56,951 parameters for 7
    classes.
    """

    def __init__(self, width: float, classes: int) -> None:
        super().__init__()
        channels = [max(1, round(c * width)) for c in _CHANNELS]
        stem = channels[0]
        self.conv1 = nn.Conv2d(1, stem, 3, bias=False)
        self.bn1 = batch_norm(stem)
        self.conv2 = nn.Conv2d(stem, stem, 3, bias=False)
        self.bn2 = batch_norm(stem)
        self.blocks = nn.Sequential(*map(Block, channels, channels[1:]))
        self.last_conv = nn.Conv2d(channels[-1], classes, 3, padding=1)

    def maps(self, x: torch.Tensor) -> torch.Tensor:
        """Return class maps float [N, classes, H/16, W/16], sizes rounded up."""
        x = self.bn1(self.conv1(x)).relu()
        x = self.bn2(self.conv2(x)).relu()
        return self.last_conv(self.blocks(x))
