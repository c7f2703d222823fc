"""Benchmark data loading: one face at a time as in most projects, and whole batches at once."""

import sys
import time
import warnings
from statistics import median

import torch
from PIL import Image
from torch.utils.data import DataLoader, default_collate
from torchvision.transforms import Compose, RandomCrop, RandomHorizontalFlip, ToTensor

from fer.core.errors import FerError
from fer.core.faces import INPUT_SIZE, Faces
from fer.core.params import Augment, Benchmark
from fer.training.clock import synchronize
from fer.training.loading import check_shared_memory, make_loader

METHODS = "per_face", "per_batch"

_PER_FACE = Compose([RandomCrop(INPUT_SIZE), RandomHorizontalFlip(), ToTensor()])
_PER_BATCH = Augment(shift=2, flip=0.5)
"""The same augmentation."""

# More workers than cores are measured on purpose.
warnings.filterwarnings("ignore", message="This DataLoader will create .* worker processes")


def time_loaders(
    faces: Faces, benchmark: Benchmark, epochs: int, device: torch.device
) -> list[dict[str, float]]:
    """Measure the seconds per epoch of each data loader, until its batches are on the device.

    Both methods compute the same augmentation: a random crop of 44x44 pixels and a flip. An epoch
    to warm up is not timed. A number of workers for which shared memory is short has no row.

    Returns:
        A row per number of "workers" (0 loads in the main process): the median seconds of
        "per_face" and "per_batch", and of both with workers that live on from epoch to epoch, such
        as "per_batch_persistent". Without workers, both have the same time.
    """
    table = []
    for workers in sorted(set(benchmark.workers)):
        try:
            check_shared_memory(workers, benchmark.batch_size)
        except FerError as error:
            print(f"warning: left out: {error}", file=sys.stderr)
            continue
        row: dict[str, float] = {"workers": workers}
        for method in METHODS:
            for persistent in (False, True) if workers else (False,):
                options = {"num_workers": workers, "persistent_workers": persistent}
                loader = _make_loader(faces, method, benchmark.batch_size, device, **options)
                column = f"{method}_persistent" if persistent else method
                row[column] = round(_seconds_per_epoch(loader, epochs, device), 4)
                print(f"{column}, {workers} workers: {row[column]:.3f} s per epoch", flush=True)
            row.setdefault(f"{method}_persistent", row[method])
        table.append(row)
    if not table:
        raise FerError("benchmark.workers: shared memory is short for all of them; add 0")
    return table


def fastest(table: list[dict[str, float]], method: str) -> float:
    """Return the seconds per epoch of the fastest loader of a method."""
    return min(row[column] for row in table for column in (method, f"{method}_persistent"))


def _make_loader(
    faces: Faces, method: str, batch_size: int, device: torch.device, **workers: int
) -> DataLoader:
    if method == "per_batch":
        options = {"batch_size": batch_size, "seed": 0, "device": device}
        return make_loader(faces, _PER_BATCH, **options, **workers)
    images = map(Image.fromarray, faces.images)
    pairs = list(zip(images, faces.labels.tolist(), strict=True))
    pin = workers["num_workers"] > 0 and device.type == "cuda"
    options = {"shuffle": True, "collate_fn": _augment_each, "pin_memory": pin}
    return DataLoader(pairs, batch_size, **options, **workers)


def _augment_each(pairs: list[tuple[Image.Image, int]]) -> list[torch.Tensor]:
    """Return images float32 [B, 1, 44, 44], 0 to 1, and labels int64 [B]."""
    return default_collate([(_PER_FACE(image), label) for image, label in pairs])


def _seconds_per_epoch(loader: DataLoader, epochs: int, device: torch.device) -> float:
    seconds = []
    for _ in range(1 + epochs):
        start = time.perf_counter()
        for images, labels in loader:
            images.to(device, non_blocking=True)
            labels.to(device, non_blocking=True)
        synchronize(device)
        seconds.append(time.perf_counter() - start)
    return median(seconds[1:])
