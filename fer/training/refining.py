"""Train a trained network on, with small steps, on faces that look as they do in use."""

import copy

import torch
import torch.nn.functional as F
from torch.optim.lr_scheduler import CosineAnnealingLR
from tqdm import tqdm

from fer.faces import Faces
from fer.params import Augment, Train
from fer.training.device import keep_freed_memory
from fer.training.loading import loader
from fer.training.networks import Network

_VIEWS = Augment(flip=0.5, shift=2)
_BATCH, _LR = 64, 2e-4
"""Found on FER2013's PublicTest."""


def refine(network: Network, faces: Faces, options: Train) -> Network:
    """A copy of `network`, trained on by the labels of faces that are only shifted and mirrored.

    And by what `network` says of them, which keeps it from forgetting the others, for
    `options.refine` epochs from `options.seed`.

    After He et al. 2019, arXiv:1909.09148: a network trained on strong augmentation gains by some
    epochs at the end without it.
    """
    refined = copy.deepcopy(network)
    imitate(
        refined,
        network,
        faces,
        epochs=options.refine,
        seed=options.seed,
        labels=True,
        task="refining",
    )
    return refined


def imitate(
    student: Network,
    network: Network,
    faces: Faces,
    *,
    epochs: int,
    seed: int,
    labels: bool,
    task: str,
) -> None:
    """Train `student` to say what `network` says of randomly shifted and mirrored `faces`.

    In float32, on the network's device; both are put into the state of use, so that nothing is
    dropped out and BatchNorm's statistics stay as they are.

    labels: whether to learn from the labels as much
    task: what a progress bar calls it
    """
    student.eval()
    network.eval()
    device = next(student.parameters()).device
    batches = loader(faces, _VIEWS, batch_size=_BATCH, seed=seed, num_workers=0, device=device)
    optimizer = torch.optim.Adam(student.parameters(), _LR)
    steps = epochs * len(batches)
    schedule = CosineAnnealingLR(optimizer, max(1, steps))
    keep_freed_memory()
    with tqdm(total=steps, desc=task, unit="step", disable=None) as bar:
        for epoch in range(epochs):
            batches.sampler.epoch = epoch
            if bar.disable:
                print(f"{task}: epoch {epoch + 1}/{epochs}", flush=True)
            for images, answers in batches:
                with torch.no_grad():
                    wanted = network(images).log_softmax(1)
                found = student(images).log_softmax(1)
                loss = F.kl_div(found, wanted, reduction="batchmean", log_target=True)
                if labels:
                    loss = loss + F.nll_loss(found, answers)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                bar.update()
