"""Load augmented batches, in the main process or in DataLoader workers."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler
from tqdm import tqdm

from fer.core.errors import FerError
from fer.core.faces import INPUT_SIZE, Faces
from fer.core.params import Augment
from fer.training import distributed
from fer.training.augmentation import augment
from fer.training.damage import damage

SHARED_MEMORY = Path("/dev/shm")
"""Where workers leave their batches on Linux."""

Key = tuple[torch.Tensor, int, int, int]
"""A batch: indices int64 [B], seeds of the augmentation and of the damage, size in pixels."""


class AugmentedBatches(Dataset):
    """Data set of which an item is a whole batch, augmented on the device, chosen by its key."""

    def __init__(self, faces: Faces, strengths: Augment, device: torch.device) -> None:
        self.images = torch.tensor(faces.images, device=device)
        self.targets = torch.tensor(faces.targets(), device=device)
        self.strengths = strengths

    def __getitem__(self, key: Key) -> tuple[torch.Tensor, torch.Tensor]:
        """Return images and targets; a key gives the same batch in every process.

        Images are float32 [B, 1, size, size], 0 to 1. Targets are labels int64 [B], or soft labels
        float32 [B, C] of a data set that has them.
        """
        indices, seed, damage_seed, size = key
        indices = indices.to(self.images.device)
        generator = torch.Generator().manual_seed(seed)
        images = augment(self.images[indices], self.strengths, generator, size)
        images = damage(images, self.strengths, generator.manual_seed(damage_seed))
        return images, self.targets[indices]


class BatchSampler(Sampler[Key]):
    """Sampler of the batches of an epoch: all faces in a new order.

    Order and augmentation depend only on `seed` and `view`, damage only on `seed` and `epoch`. The
    number of workers and resuming change nothing. Of several processes, each has an equal part of
    every batch; where a batch cannot be divided, some of its faces come twice.

    Set `epoch`, and `size` of the faces in pixels, before each epoch; and `view`, unless it is the
    epoch.
    """

    def __init__(self, count: int, batch_size: int, seed: int) -> None:
        self.count, self.batch_size, self.seed = count, batch_size, seed
        self.epoch, self.size = 0, INPUT_SIZE
        self.view: int | None = None

    def __len__(self) -> int:
        return -(-self.count // self.batch_size)

    def __iter__(self) -> Iterator[Key]:
        order_seed, *seeds = self._draw(self.epoch if self.view is None else self.view, 0)
        _, *damage_seeds = self._draw(self.epoch, 1)
        generator = torch.Generator().manual_seed(int(order_seed))
        order = torch.randperm(self.count, generator=generator)
        rank, processes = distributed.rank(), distributed.processes()
        batches = zip(order.split(self.batch_size), seeds, damage_seeds, strict=True)
        for indices, seed, damage_seed in batches:
            per_process = -(-len(indices) // processes)
            positions = torch.arange(rank, per_process * processes, processes)
            yield indices[positions % len(indices)], seed + rank, damage_seed + rank, self.size

    def _draw(self, epoch: int, purpose: int) -> list[int]:
        """Return seeds for an epoch: of its order, and of each batch."""
        entropy = np.random.SeedSequence([self.seed, epoch, purpose])
        return entropy.generate_state(1 + len(self)).tolist()


def check_shared_memory(workers: int, batch_size: int) -> None:
    """Check that shared memory holds the batches that workers make in advance: two each."""
    needed = 4 * INPUT_SIZE**2 * batch_size * (2 * workers + 1)  # float32
    if not workers or not SHARED_MEMORY.is_dir():
        return
    if (free := shutil.disk_usage(SHARED_MEMORY).free) < needed:
        raise FerError(
            f"train.num_workers: {workers} workers need {needed / 1e6:.1f} MB of shared memory, "
            f"but {SHARED_MEMORY} has {free / 1e6:.1f} MB; use train.num_workers=0, or free some"
        )


def make_loader(
    faces: Faces,
    strengths: Augment,
    *,
    batch_size: int,
    seed: int,
    device: torch.device,
    num_workers: int = 0,
    persistent_workers: bool = True,
) -> DataLoader:
    """Return a loader of augmented batches; set `.sampler.epoch` and `.sampler.size` per epoch.

    `batch_size` counts the faces of all processes. With 0 workers, all faces and the batches are on
    the device. Otherwise worker processes make the batches, in pinned memory for CUDA; persistent
    ones stay alive between epochs.
    """
    check_shared_memory(num_workers, batch_size)
    return DataLoader(
        AugmentedBatches(faces, strengths, torch.device("cpu") if num_workers else device),
        sampler=BatchSampler(len(faces), batch_size, seed),
        batch_size=None,  # an item is a batch already
        num_workers=num_workers,
        persistent_workers=persistent_workers and num_workers > 0,
        pin_memory=num_workers > 0 and device.type == "cuda",
        generator=torch.Generator(),  # so that the loader leaves dropout's generator alone
    )


def progress_bar(batches: DataLoader, title: str, quiet: bool = False) -> tqdm:
    """Return the batches with a progress bar, which is shown on a terminal only."""
    return tqdm(batches, title, leave=False, unit="step", disable=quiet or None)
