"""What all networks have in common, and the parts that they share."""

import torch
from torch import nn


class Network(nn.Module):
    """A convolutional network that ends in a map for each class.

    To add one: a subclass with `__init__(self, width, classes)` and `maps`, and a line in
    `NETWORKS`. It is trained, exported, quantized and explained through these two methods alone.
    Faces of 24x24 pixels and more must go through it, as training starts with small ones.
    """

    def maps(self, x: torch.Tensor) -> torch.Tensor:
        """Maps [N, classes, h, w] of faces [N, 1, H, W], 0 to 1: the evidence for each class.

        Their means are the logits, so that they are class activation maps (Zhou et al. 2016,
        arXiv:1512.04150) as well.
        """
        raise NotImplementedError

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits [N, classes] of faces [N, 1, H, W], 0 to 1."""
        return self.maps(x).mean((2, 3))


def batch_norm(channels: int) -> nn.BatchNorm2d:
    """BatchNorm with a running mean over some ten batches."""
    # The base project's momentum of 0.99 is Keras' convention; in PyTorch it keeps one batch.
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.1)
