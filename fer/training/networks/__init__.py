"""The networks that `model.name` may name: one file and one line here per network."""

from torch import nn

from fer.core.params import Model
from fer.training.networks.compact import Compact
from fer.training.networks.deep import Deep
from fer.training.networks.mini_xception import MiniXception
from fer.training.networks.network import Network
from fer.training.networks.vgg import VGG

NETWORKS: dict[str, type[Network]] = {
    "compact": Compact,
    "deep": Deep,
    "mini-xception": MiniXception,
    "vgg": VGG,
}


def build(model: Model, classes: int) -> Network:
    """Return an untrained network."""
    return NETWORKS[model.name](model.width, classes)


def parameter_count(network: nn.Module) -> int:
    """Return the number of trained parameters."""
    return sum(p.numel() for p in network.parameters())
