"""The optimizer, the schedule of its learning rate, and the moving average of the weights."""

import copy

import torch
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, LRScheduler, OneCycleLR

from fer.core.params import Train
from fer.training.networks import Network


def make_optimizer(model: torch.nn.Module, train: Train) -> Optimizer:
    """Return SGD with Nesterov momentum or AdamW; weight decay acts on convolution weights only."""
    weights = [p for p in model.parameters() if p.ndim > 1]
    without_decay = [p for p in model.parameters() if p.ndim <= 1]
    groups = [
        {"params": weights, "weight_decay": train.weight_decay},
        {"params": without_decay, "weight_decay": 0.0},
    ]
    if train.optimizer == "adamw":
        return AdamW(groups, lr=train.lr)
    nesterov = train.momentum > 0
    return SGD(groups, lr=train.lr, momentum=train.momentum, nesterov=nesterov)


def make_schedule(optimizer: Optimizer, train: Train, epochs: int, steps: int) -> LRScheduler:
    """Return the schedule of the learning rate, for epochs of so many steps.

    "one-cycle" rises for a fraction `warmup` of the steps, then falls (Smith and Topin 2019,
    arXiv:1708.07120). "cosine" falls from the first step. "step" is the decay of the base project.
    """
    total = max(3, epochs * steps)
    if train.schedule == "one-cycle":
        warmup = max(train.warmup, 2 / total)  # OneCycleLR divides by warmup * total - 1
        return OneCycleLR(optimizer, train.lr, total, pct_start=warmup, cycle_momentum=False)
    if train.schedule == "cosine":
        return CosineAnnealingLR(optimizer, total)

    def factor(step: int) -> float:
        epochs_of_decay = max(0, step // steps - train.decay_start)
        return train.decay_rate ** (epochs_of_decay // train.decay_every)

    return LambdaLR(optimizer, factor)


class MovingAverage:
    """Exponential moving average of a network's weights and BatchNorm statistics.

    `horizon` is the number of steps after which a weight counts 1/e; `network` becomes a copy with
    the averages. `torch.optim.swa_utils.AveragedModel` does the same with some hundred kernels per
    step; this takes one, because it leaves out the counters of BatchNorm, which are not used.
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
