"""Benchmark data loading: one face at a time as in most projects, and whole batches at once."""

import time
from statistics import median

import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from tqdm import tqdm

from fer.core.faces import INPUT_SIZE, Faces
from fer.core.params import Augment, Benchmark
from fer.training.clock import synchronize
from fer.training.loading import make_loader

_CROP_AND_FLIP = Augment(shift=2, flip=0.5)
"""The augmentation of `RandomCrop(44)` and `RandomHorizontalFlip()` on 48x48 pixels."""


class PerFaceDataset(Dataset):
    """Map-style data set in which torchvision transforms each face as a PIL image.

    Args:
        faces: The faces to load.
    """

    def __init__(self, faces: Faces) -> None:
        self.images = [Image.fromarray(image) for image in faces.images]
        self.labels = faces.labels.tolist()
        self.transform = transforms.Compose(
            [
                transforms.RandomCrop(INPUT_SIZE),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
            ]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        """Return the augmented face, float32 [1, 44, 44], 0 to 1, and its label.

        Args:
            index: Index of the face.
        """
        return self.transform(self.images[index]), self.labels[index]


def time_loaders(
    faces: Faces, benchmark: Benchmark, epochs: int, device: torch.device
) -> list[dict[str, str | int | float]]:
    """Measure the seconds per epoch of each data loader, until its batches are on the device.

    Both methods compute the same augmentation: a random crop of 44x44 pixels and a flip.

    Args:
        faces: The faces to load.
        benchmark: Batch size and numbers of workers.
        epochs: Epochs that are timed per loader, after one to warm up.
        device: Where the batches go.

    Returns:
        A row per loader: "method" ("per_face" or "per_batch"), "workers" (0 loads in the main
        process), "persistent_workers" (whether workers live on from epoch to epoch) and "seconds"
        (median of the epochs).
    """
    loaders = [
        (method, workers, persistent)
        for method in ("per_face", "per_batch")
        for workers in benchmark.workers
        for persistent in ((False, True) if workers else (False,))
    ]
    per_face = PerFaceDataset(faces)
    rows = []
    with tqdm(loaders, unit="loader", disable=None) as bar:
        for method, workers, persistent in bar:
            make = _per_face_loader if method == "per_face" else _per_batch_loader
            data = per_face if method == "per_face" else faces
            loader = make(data, benchmark.batch_size, workers, persistent, device)
            seconds = _seconds_per_epoch(loader, epochs, device)
            rows.append(
                {
                    "method": method,
                    "workers": workers,
                    "persistent_workers": persistent,
                    "seconds": round(seconds, 4),
                }
            )
            if bar.disable:
                kind = "persistent workers" if persistent else "workers"
                print(f"{method}, {workers} {kind}: {seconds:.3f} s per epoch", flush=True)
    return rows


def fastest(rows: list[dict], method: str, **conditions: int) -> float:
    """Return the seconds per epoch of the fastest loader of a method.

    Args:
        rows: Result of `time_loaders`.
        method: "per_face" or "per_batch".
        **conditions: Other values that a row must have, such as workers=1.
    """
    conditions = {"method": method, **conditions}
    return min(row["seconds"] for row in rows if conditions.items() <= row.items())


def tabulate(rows: list[dict], workers: list[int]) -> list[dict[str, float]]:
    """Arrange seconds per epoch as a table: a row per number of workers, a column per loader.

    Without workers there are none to keep alive: both columns of a method have the same time.

    Args:
        rows: Result of `time_loaders`.
        workers: The numbers of workers.
    """
    seconds = {(r["method"], r["workers"], r["persistent_workers"]): r["seconds"] for r in rows}
    return [
        {"workers": count}
        | {
            f"{method}{suffix}": seconds[method, count, persistent and count > 0]
            for method in ("per_face", "per_batch")
            for suffix, persistent in (("", False), ("_persistent", True))
        }
        for count in sorted(workers)
    ]


def _per_face_loader(
    dataset: PerFaceDataset, batch_size: int, workers: int, persistent: bool, device: torch.device
) -> DataLoader:
    return DataLoader(
        dataset,
        batch_size,
        shuffle=True,
        num_workers=workers,
        persistent_workers=persistent,
        pin_memory=workers > 0 and device.type == "cuda",
    )


def _per_batch_loader(
    faces: Faces, batch_size: int, workers: int, persistent: bool, device: torch.device
) -> DataLoader:
    return make_loader(
        faces,
        _CROP_AND_FLIP,
        batch_size=batch_size,
        seed=0,
        num_workers=workers,
        device=device,
        persistent=persistent,
    )


def _seconds_per_epoch(loader: DataLoader, epochs: int, device: torch.device) -> float:
    def epoch() -> float:
        start = time.perf_counter()
        for images, labels in loader:
            images.to(device, non_blocking=True)
            labels.to(device, non_blocking=True)
        synchronize(device)
        return time.perf_counter() - start

    epoch()
    return median(epoch() for _ in range(epochs))
