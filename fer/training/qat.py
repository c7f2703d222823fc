"""Quantization-aware fine-tuning (QAT): continue training until int8 has the exact weights."""

import copy

import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call
from torch.optim.lr_scheduler import CosineAnnealingLR

from fer.core.faces import Faces
from fer.core.params import DAMAGES, Augment, Train
from fer.training.device import keep_freed_memory, set_deterministic
from fer.training.loading import make_loader, progress_bar
from fer.training.networks import Network

MAX_WEIGHT = 64
"""Largest int8 weight that is safe on every processor; `fer.deploy.quantize` gives the reason."""

_AUGMENTATION = Augment(flip=0.5, shift=2)
_BATCH_SIZE, _LR = 64, 2e-4
"""Selected on FER2013's val split."""


def finetune(network: Network, faces: Faces, options: Train) -> Network:
    """Return a copy of a trained network, fine-tuned so that int8 represents its weights exactly.

    The targets are the labels and the predictions of `network`; the latter keep it from forgetting
    other faces. The faces are only shifted, flipped and damaged. The weights of convolutions and
    linear layers are rounded to int8 steps meanwhile and stay rounded. The computation is in
    float32 on the network's device. Both networks are put into evaluation mode: no dropout, fixed
    statistics of BatchNorm. With 0 `qat_epochs` the copy has the same weights.

    A network trained with strong augmentation gains from some final epochs without it (He et al.
    2019, arXiv:1909.09148). Training with rounded weights is from Jacob et al. 2018,
    arXiv:1712.05877.
    """
    finetuned = copy.deepcopy(network.eval())
    if not options.qat_epochs:
        return finetuned
    layers = [n for n, m in finetuned.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    names = [f"{layer}.weight" for layer in layers]  # weight_norm, for example, has none
    weights = {n: weight for n, weight in finetuned.named_parameters() if n in names}
    device = next(network.parameters()).device
    augment = _AUGMENTATION.model_copy(update={k: getattr(options.augment, k) for k in DAMAGES})
    batches = make_loader(faces, augment, batch_size=_BATCH_SIZE, seed=options.seed, device=device)
    optimizer = torch.optim.Adam(finetuned.parameters(), _LR)
    schedule = CosineAnnealingLR(optimizer, options.qat_epochs * len(batches))
    keep_freed_memory()
    set_deterministic(options.deterministic)
    for batches.sampler.epoch in range(options.qat_epochs):
        epoch = f"epoch {batches.sampler.epoch + 1}/{options.qat_epochs}"
        print(f"quantization-aware fine-tuning: {epoch}", flush=True)
        for images, targets in progress_bar(batches, epoch):
            with torch.no_grad():
                target = network(images).log_softmax(1)
            rounded = {name: _round(weight) for name, weight in weights.items()}
            prediction = functional_call(finetuned, rounded, images).log_softmax(1)
            distance = F.kl_div(prediction, target, reduction="batchmean", log_target=True)
            if targets.ndim == 1:
                label_loss = F.nll_loss(prediction, targets)
            else:  # soft labels
                label_loss = -(targets * prediction).sum(1).mean()
            optimizer.zero_grad()
            (distance + label_loss).backward()
            optimizer.step()
            schedule.step()
    with torch.no_grad():
        for weight in weights.values():
            weight.copy_(_round(weight))
    return finetuned


def _round(weight: torch.Tensor) -> torch.Tensor:
    """Round weights [O, ...] to `MAX_WEIGHT` steps in each direction, per output channel.

    BatchNorm scales output channels, which does not change the rounding. The gradient ignores the
    rounding: the straight-through estimator of Bengio, Leonard and Courville 2013, arXiv:1308.3432.
    """
    inputs = tuple(range(1, weight.ndim))
    scale = weight.detach().abs().amax(inputs, keepdim=True).clamp(min=1e-8) / MAX_WEIGHT
    return weight + ((weight / scale).round() * scale - weight).detach()
