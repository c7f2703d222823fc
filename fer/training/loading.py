"""Iterate augmented batches: in process, or in DataLoader workers."""

import warnings
from collections.abc import Iterator

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from fer.faces import INPUT_SIZE, Faces
from fer.params import Augment
from fer.training import distributed
from fer.training.augmentation import augment

# `fit` says it in a line, and the benchmark does it on purpose.
warnings.filterwarnings("ignore", message="This DataLoader will create .* worker processes")

Key = tuple[torch.Tensor, int, int, slice]


class Batches(Dataset):
    """Batches built at once, by key: (indices int64 [B], seed of the draws, size in pixels, share).

    An item is (images float32 [B, 1, size, size], targets), on `device`, of the share. The targets
    are labels int64 [B], or each class's share float32 [B, C] where `faces` has shares.
    """

    def __init__(self, faces: Faces, strengths: Augment, device: torch.device) -> None:
        self.images = torch.tensor(faces.images, device=device)
        self.targets = torch.tensor(faces.targets(), device=device)
        self.strengths = strengths

    def __getitem__(self, key: Key) -> tuple[torch.Tensor, torch.Tensor]:
        """The batch of `key`: the same one in any process."""
        indices, seed, size, share = key
        indices = indices.to(self.images.device)
        generator = torch.Generator().manual_seed(seed)
        images = augment(self.images[indices], self.strengths, generator, size, share)
        return images, self.targets[indices[share]]


class Shuffled(Sampler[Key]):
    """The keys of an epoch: all faces in a new order, and a seed for each batch.

    Both depend only on `seed` and `epoch`: the number of workers, or a run that goes on after a
    stop, changes nothing. Of each batch, each process of several has a share. `size` is that of
    the epoch's faces, in pixels.
    """

    def __init__(self, count: int, batch_size: int, seed: int) -> None:
        self.count, self.batch_size, self.seed = count, batch_size, seed
        self.epoch, self.size = 0, INPUT_SIZE

    def __len__(self) -> int:
        return -(-self.count // self.batch_size)

    def __iter__(self) -> Iterator[Key]:
        first, *seeds = np.random.SeedSequence([self.seed, self.epoch]).generate_state(
            1 + len(self)
        )
        order = torch.randperm(self.count, generator=torch.Generator().manual_seed(int(first)))
        for indices, seed in zip(order.split(self.batch_size), seeds, strict=True):
            yield indices, int(seed), self.size, distributed.share(len(indices))


def loader(
    faces: Faces,
    strengths: Augment,
    *,
    batch_size: int,
    seed: int,
    num_workers: int,
    device: torch.device,
    persistent: bool = True,
) -> DataLoader:
    """Augmented batches of `faces`; set `.sampler.epoch` and `.sampler.size` before each epoch.

    With `num_workers` 0 all faces lie on `device`, and so do the batches; otherwise the batches
    come from worker processes, in memory from which they go to `device` fast.
    """
    return DataLoader(
        Batches(faces, strengths, torch.device("cpu") if num_workers else device),
        sampler=Shuffled(len(faces), batch_size, seed),
        batch_size=None,  # an item is a batch already
        num_workers=num_workers,
        persistent_workers=persistent and num_workers > 0,
        pin_memory=num_workers > 0 and device.type == "cuda",
        generator=torch.Generator(),  # which leaves alone the one that dropout draws from
    )
