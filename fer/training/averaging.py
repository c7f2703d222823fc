"""Average the weights of a network over the last steps of its training."""

import copy

import torch

from fer.training.networks import Network


class MovingAverage:
    """Exponential moving average of a network's weights and BatchNorm statistics.

    `torch.optim.swa_utils.AveragedModel` does the same with some hundred kernels per step; this
    takes one, because it leaves out the counters of BatchNorm, which are not used.

    Args:
        network: The network that is trained; the attribute `network` is a copy with the averages.
        horizon: Number of steps after which a weight counts 1/e.
    """

    def __init__(self, network: Network, horizon: float) -> None:
        self.rate = 1 / max(1.0, horizon)  # 1 - decay
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self.averages, self.values = (
            [t for t in n.state_dict().values() if t.is_floating_point()]
            for n in (self.network, network)
        )

    def update(self) -> None:
        """Move the averages towards the current weights; call it after each step."""
        torch._foreach_lerp_(self.averages, self.values, self.rate)
