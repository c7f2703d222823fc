"""Iterate augmented batches: in process, or in DataLoader workers."""

import warnings
from collections.abc import Iterator

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from fer.faces import INPUT_SIZE, Faces
from fer.params import Augment
from fer.training.augmentation import DRAWS, augment

# `fit` says it in a line, and the benchmark does it on purpose.
warnings.filterwarnings("ignore", message="This DataLoader will create .* worker processes")

Key = tuple[torch.Tensor, int, int]


class Batches(Dataset):
    """Batches built at once, by key: (indices int64 [B], view, size in pixels).

    A view is one draw of the augmentation for every face, the same at any size and in any process.
    An item is (images float32 [B, 1, size, size], labels int64 [B]), on `device`; with `words`,
    those of the view as well, float32 [B, 7].
    """

    def __init__(
        self,
        faces: Faces,
        strengths: Augment,
        seed: int,
        device: torch.device,
        words: torch.Tensor | None = None,
    ) -> None:
        self.images = torch.tensor(faces.images, device=device)
        self.labels = torch.tensor(faces.labels, dtype=torch.int64, device=device)
        self.strengths, self.seed, self.words = strengths, seed, words
        self._view, self._draws = -1, torch.empty(0)

    def __getitem__(self, key: Key) -> tuple[torch.Tensor, ...]:
        """The batch of `key`."""
        indices, view, size = key
        if view != self._view:
            self._view, self._draws = view, self.draws(view)
        on_device = indices.to(self.images.device)
        images = augment(self.images[on_device], self.strengths, self._draws[:, indices], size)
        batch = images, self.labels[on_device]
        if self.words is None:
            return batch
        return *batch, self.words[view, indices].float().to(images.device)

    def draws(self, view: int) -> torch.Tensor:
        """The draws [6, N] of a view, on the CPU: a seed gives the same faces on any device."""
        return torch.rand(DRAWS, len(self.labels), generator=_generator(self.seed, 1, view))


class Shuffled(Sampler[Key]):
    """The keys of an epoch: all faces in a new order.

    The order depends only on `seed` and `epoch`: the number of workers, or a run that goes on after
    a stop, changes nothing. `size` is that of the epoch's faces, in pixels. `views`: after so many
    epochs, the same views again; by default each epoch has its own.
    """

    def __init__(self, count: int, batch_size: int, seed: int, views: int | None = None) -> None:
        self.count, self.batch_size, self.seed, self.views = count, batch_size, seed, views
        self.epoch, self.size = 0, INPUT_SIZE

    def __len__(self) -> int:
        return -(-self.count // self.batch_size)

    def __iter__(self) -> Iterator[Key]:
        view = self.epoch % self.views if self.views else self.epoch
        order = torch.randperm(self.count, generator=_generator(self.seed, 0, self.epoch))
        for indices in order.split(self.batch_size):
            yield indices, view, self.size


def _generator(*seeds: int) -> torch.Generator:
    state = np.random.SeedSequence(seeds).generate_state(1)
    return torch.Generator().manual_seed(int(state[0]))


def loader(
    faces: Faces,
    strengths: Augment,
    *,
    batch_size: int,
    seed: int,
    num_workers: int,
    device: torch.device,
    persistent: bool = True,
    words: torch.Tensor | None = None,
) -> DataLoader:
    """Augmented batches of `faces`; set `.sampler.epoch` and `.sampler.size` before each epoch.

    words: [V, N, 7], of `fer.training.teaching.words`: what a teacher says of the first V views;
        the epochs have these in turn then, and the batches what it says of them
    With `num_workers` 0 all faces lie on `device`, and so do the batches; otherwise the batches
    come from worker processes, in memory from which they go to `device` fast.
    """
    place = torch.device("cpu") if num_workers else device
    return DataLoader(
        Batches(faces, strengths, seed, place, words),
        sampler=Shuffled(len(faces), batch_size, seed, views=None if words is None else len(words)),
        batch_size=None,  # an item is a batch already
        num_workers=num_workers,
        persistent_workers=persistent and num_workers > 0,
        pin_memory=num_workers > 0 and device.type == "cuda",
    )
