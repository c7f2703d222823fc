"""Load augmented batches, in the main process or in DataLoader workers."""

import warnings
from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, Dataset, Sampler

from fer.core.faces import INPUT_SIZE, Faces
from fer.core.params import Augment
from fer.training import distributed
from fer.training.augmentation import augment, mix

# `fit` prints its own line about too many workers, and the benchmark uses them on purpose.
warnings.filterwarnings("ignore", message="This DataLoader will create .* worker processes")

Key = tuple[torch.Tensor, int, int, slice]
"""A batch: indices int64 [B], seed of the augmentation, size in pixels, share of this process."""


class AugmentedBatches(Dataset):
    """Data set of which an item is a whole augmented batch, chosen by its key.

    Args:
        faces: The faces.
        strengths: Strengths of the augmentation.
        device: Where the faces are kept and augmented.
    """

    def __init__(self, faces: Faces, strengths: Augment, device: torch.device) -> None:
        self.images = torch.tensor(faces.images, device=device)
        self.targets = torch.tensor(faces.targets(), device=device)
        self.classes, self.strengths = len(faces.classes), strengths

    def __getitem__(self, key: Key) -> tuple[torch.Tensor, torch.Tensor]:
        """Return this process's share of a batch; a key gives the same batch in every process.

        Args:
            key: Indices, seed, size and share of the batch.

        Returns:
            Images float32 [B, 1, size, size], 0 to 1, and targets: labels int64 [B], or soft labels
            float32 [B, C], as of a data set with soft labels or after mixup.
        """
        indices, seed, size, share = key
        indices = indices.to(self.images.device)
        generator = torch.Generator().manual_seed(seed)
        if not self.strengths.mixup:
            images = augment(self.images[indices], self.strengths, generator, size, share)
            return images, self.targets[indices[share]]
        images = augment(self.images[indices], self.strengths, generator, size)
        targets = self.targets[indices]
        if targets.ndim == 1:
            targets = F.one_hot(targets, self.classes).float()
        images, targets = mix(images, targets, self.strengths.mixup, seed)
        return images[share], targets[share]


class BatchSampler(Sampler[Key]):
    """Sampler of the batches of an epoch: all faces in a new order.

    Order and augmentation depend only on `seed` and `epoch`. The number of workers and resuming
    change nothing.

    Args:
        count: Number of faces.
        batch_size: Faces per batch, over all processes.
        seed: Seed of order and augmentation.

    Attributes:
        epoch: The current epoch, set before each epoch.
        size: Size of its faces in pixels, set before each epoch.
    """

    def __init__(self, count: int, batch_size: int, seed: int) -> None:
        self.count, self.batch_size, self.seed = count, batch_size, seed
        self.epoch, self.size = 0, INPUT_SIZE

    def __len__(self) -> int:
        return -(-self.count // self.batch_size)

    def __iter__(self) -> Iterator[Key]:
        order_seed, *seeds = np.random.SeedSequence([self.seed, self.epoch]).generate_state(
            1 + len(self)
        )
        generator = torch.Generator().manual_seed(int(order_seed))
        order = torch.randperm(self.count, generator=generator)
        for indices, seed in zip(order.split(self.batch_size), seeds, strict=True):
            yield indices, int(seed), self.size, distributed.local_slice(len(indices))


def make_loader(
    faces: Faces,
    strengths: Augment,
    *,
    batch_size: int,
    seed: int,
    num_workers: int,
    device: torch.device,
    persistent: bool = True,
) -> DataLoader:
    """Return a loader of augmented batches; set `.sampler.epoch` and `.sampler.size` per epoch.

    Args:
        faces: The faces.
        strengths: Strengths of the augmentation.
        batch_size: Faces per batch, over all processes.
        seed: Seed of order and augmentation.
        num_workers: With 0, all faces and the batches are on `device`. Otherwise worker processes
            make the batches, in pinned memory for CUDA.
        device: Where the batches are needed.
        persistent: Whether workers stay alive between epochs.
    """
    return DataLoader(
        AugmentedBatches(faces, strengths, torch.device("cpu") if num_workers else device),
        sampler=BatchSampler(len(faces), batch_size, seed),
        batch_size=None,  # an item is a batch already
        num_workers=num_workers,
        persistent_workers=persistent and num_workers > 0,
        pin_memory=num_workers > 0 and device.type == "cuda",
        generator=torch.Generator(),  # so that the loader leaves dropout's generator alone
    )
