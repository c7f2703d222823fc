"""Make the optimizer and the learning-rate schedule from the configuration."""

import torch
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, LRScheduler, OneCycleLR

from fer.core.params import Train


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
