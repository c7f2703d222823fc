"""Optimizer and learning-rate schedule from the recipe."""

import torch
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, LRScheduler, OneCycleLR

from fer.params import Train


def make_optimizer(model: torch.nn.Module, train: Train) -> Optimizer:
    """SGD with Nesterov momentum, or AdamW; weight decay acts on convolution weights only."""
    weights = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    groups = [
        {"params": weights, "weight_decay": train.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    if train.optimizer == "adamw":
        return AdamW(groups, lr=train.lr)
    nesterov = train.momentum > 0
    return SGD(groups, lr=train.lr, momentum=train.momentum, nesterov=nesterov)


def make_schedule(optimizer: Optimizer, train: Train, epochs: int, steps: int) -> LRScheduler:
    """The learning rate of each step, for `epochs` of `steps`; call `step()` after each step.

    one-cycle: up for a share `warmup` of the steps, then down (Smith and Topin 2019,
        arXiv:1708.07120); cosine: down from the first step on; step: the base project's decay
    """
    total = max(3, epochs * steps)
    if train.schedule == "one-cycle":
        warmup = max(train.warmup, 2 / total)  # OneCycleLR divides by the steps but one
        return OneCycleLR(optimizer, train.lr, total, pct_start=warmup, cycle_momentum=False)
    if train.schedule == "cosine":
        return CosineAnnealingLR(optimizer, total)

    def factor(step: int) -> float:
        late = max(0, step // steps - train.decay_start)
        return train.decay_rate ** (late // train.decay_every)

    return LambdaLR(optimizer, factor)
