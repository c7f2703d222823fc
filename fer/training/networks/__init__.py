"""The networks that `model.name` may name: one file and one line here per network."""

import torch
from torch import nn

from fer.core.params import Model
from fer.training.networks.compact import Compact
from fer.training.networks.mini_xception import MiniXception
from fer.training.networks.network import Network

NETWORKS: dict[str, type[Network]] = {
    "compact": Compact,
    "mini-xception": MiniXception,
}


class Ensemble(Network):
    """Several networks as one: its maps are the mean of theirs."""

    def __init__(self, networks: list[Network]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def maps(self, x: torch.Tensor) -> torch.Tensor:
        """Return class maps; those of all networks must be of one size."""
        return torch.stack([network.maps(x) for network in self.networks]).mean(0)


def build(model: Model, classes: int) -> Network:
    """Return an untrained network; for several widths, the mean of so many networks."""
    network = NETWORKS[model.name]
    if isinstance(model.width, list):
        return Ensemble([network(width, classes) for width in model.width])
    return network(model.width, classes)


def parameter_count(network: nn.Module) -> int:
    """Return the number of trained parameters."""
    return sum(p.numel() for p in network.parameters())
