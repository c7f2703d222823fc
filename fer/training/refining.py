"""Train a trained network on, with small steps, to weights that int8 can hold."""

import copy

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrize
from torch.optim.lr_scheduler import CosineAnnealingLR
from tqdm import tqdm

from fer.faces import Faces
from fer.params import Augment, Train
from fer.training.device import be_deterministic, keep_freed_memory
from fer.training.loading import loader
from fer.training.networks import Network

LARGEST = 64
"""Of an int8 weight that is right on every processor (`fer.deploy.quantize` says why)."""

_VIEWS = Augment(flip=0.5, shift=2)
_BATCH, _LR = 64, 2e-4
"""Found on FER2013's PublicTest."""


def refine(network: Network, faces: Faces, options: Train) -> Network:
    """A copy of `network`, trained on by the labels of faces that are only shifted and mirrored.

    And by what `network` says of them, which keeps it from forgetting the others, for
    `options.refine` epochs from `options.seed`, in float32 on its device. The weights of
    convolutions are rounded to what int8 holds meanwhile, and stay so: it has the same weights
    then. With no epochs nothing is changed. Both networks are put into the state of use, so that
    nothing is dropped out and BatchNorm's statistics stay as they are.

    After He et al. 2019, arXiv:1909.09148: a network trained on strong augmentation gains by some
    epochs at the end without it; and Jacob et al. 2018, arXiv:1712.05877, who train with the
    roundings.
    """
    refined = copy.deepcopy(network)
    refined.eval()
    network.eval()
    if not options.refine:
        return refined
    convolutions = [module for module in refined.modules() if isinstance(module, nn.Conv2d)]
    for conv in convolutions:
        parametrize.register_parametrization(conv, "weight", _Rounded())
    _imitate(refined, network, faces, options)
    for conv in convolutions:
        parametrize.remove_parametrizations(conv, "weight")  # which leaves them rounded
    # Into a network that never had them: they change the order of its parameters.
    done = copy.deepcopy(network)
    done.load_state_dict(refined.state_dict())
    return done


def _imitate(student: Network, network: Network, faces: Faces, options: Train) -> None:
    """Train `student` on the labels of `faces`, and on what `network` says of them."""
    device = next(student.parameters()).device
    batches = loader(
        faces, _VIEWS, batch_size=_BATCH, seed=options.seed, num_workers=0, device=device
    )
    optimizer = torch.optim.Adam(student.parameters(), _LR)
    steps = options.refine * len(batches)
    schedule = CosineAnnealingLR(optimizer, steps)
    keep_freed_memory()
    be_deterministic(options.deterministic)
    with tqdm(total=steps, desc="refining", unit="step", disable=None) as bar:
        for epoch in range(options.refine):
            batches.sampler.epoch = epoch
            if bar.disable:
                print(f"refining: epoch {epoch + 1}/{options.refine}", flush=True)
            for images, targets in batches:
                with torch.no_grad():
                    wanted = network(images).log_softmax(1)
                found = student(images).log_softmax(1)
                apart = F.kl_div(found, wanted, reduction="batchmean", log_target=True)
                loss = apart + _label_loss(found, targets)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                bar.update()


def _label_loss(log_probabilities: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy in nats of log-probabilities [B, C].

    Args:
        log_probabilities: float32 [B, C].
        targets: Labels int64 [B], or each class's share float32 [B, C].
    """
    if targets.ndim == 1:
        return F.nll_loss(log_probabilities, targets)
    return -(targets * log_probabilities).sum(1).mean()


class _Rounded(nn.Module):
    """Weights [O, I, H, W] in `LARGEST` steps each way, each output channel for itself.

    BatchNorm scales each output channel, and so changes nothing about that. The gradient is that of
    what was not rounded: the straight-through estimator (Bengio, Leonard and Courville 2013,
    arXiv:1308.3432).
    """

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        scale = weight.detach().abs().amax((1, 2, 3), keepdim=True).clamp(min=1e-8) / LARGEST
        return weight + ((weight / scale).round() * scale - weight).detach()
