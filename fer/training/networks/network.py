"""The base class of all networks, and the layers that they share."""

import torch
from torch import nn


class Network(nn.Module):
    """Base class: a convolutional network that ends in one map per class.

    To add a network, write a subclass with `__init__(self, width, classes)` and `maps`, and add it
    to `NETWORKS`. Training, export, quantization and explanations use only these two methods. It
    must accept faces from 24x24 pixels, because training starts with small ones. int8 covers
    `nn.Conv2d` and `nn.Linear`; products of activations, such as attention, are refused.
    """

    def maps(self, x: torch.Tensor) -> torch.Tensor:
        """Return the evidence for each class by position, float [N, classes, h, w].

        The faces are float [N, 1, H, W], 0 to 1. The means of the maps are the logits, so they are
        class activation maps (Zhou et al. 2016, arXiv:1512.04150).
        """
        raise NotImplementedError

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits, float [N, classes], of faces, float [N, 1, H, W], 0 to 1."""
        return self.maps(x).mean((2, 3))


def batch_norm(channels: int) -> nn.BatchNorm2d:
    """Return a BatchNorm with running statistics over about ten batches."""
    # The base project's momentum of 0.99 follows Keras; in PyTorch it would keep one batch.
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.1)
