"""Time the ways of loading: face by face as usual, and by whole batches."""

import time
from statistics import median

import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from tqdm import tqdm

from fer.faces import INPUT_SIZE, Faces
from fer.params import Augment, Benchmark
from fer.training.clock import synchronize
from fer.training.loading import loader

_CROP_AND_FLIP = Augment(shift=2, flip=0.5)
"""What `RandomCrop(44)` and `RandomHorizontalFlip()` do to a face of 48x48."""


class PerFace(Dataset):
    """The usual way: each face is a PIL image that torchvision transforms on its own."""

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
        """Face float32 [1, 44, 44], 0 to 1, and its label."""
        return self.transform(self.images[index]), self.labels[index]


def time_loaders(
    faces: Faces, benchmark: Benchmark, repeats: int, device: torch.device
) -> list[dict[str, str | int | float]]:
    """Seconds of an epoch over `faces` until its batches are on `device`, a row for each way.

    A row has way ("per_face" or "per_batch"), workers (0 is in process), kept (whether the workers
    live from epoch to epoch) and seconds (median of the repeats, after a warm-up). Both ways do
    the same: a random crop of 44x44 and a flip.
    repeats: epochs that are timed of each way
    """
    cases = [
        (way, workers, persistent)
        for way in ("per_face", "per_batch")
        for workers in benchmark.workers
        for persistent in ((False, True) if workers else (False,))
    ]
    usual = PerFace(faces)
    rows = []
    with tqdm(cases, unit="way", disable=None) as bar:
        for way, workers, persistent in bar:
            batches = _make(way, usual, faces, benchmark.batch_size, workers, persistent, device)
            seconds = _time(batches, repeats, device)
            rows.append(
                {
                    "way": way,
                    "workers": workers,
                    "kept": persistent,
                    "seconds": round(seconds, 4),
                }
            )
            if bar.disable:
                kept = ", kept" if persistent else ""
                print(f"{way}, {workers} workers{kept}: {seconds:.3f} s an epoch", flush=True)
    return rows


def fastest(rows: list[dict], way: str, **chosen: int) -> float:
    """Seconds an epoch of the fastest of `rows` (of `time_loaders`) of a way.

    chosen: what else the rows must have, such as workers=1
    """
    wanted = {"way": way, **chosen}
    return min(row["seconds"] for row in rows if wanted.items() <= row.items())


def tabulate(rows: list[dict], workers: list[int]) -> list[dict[str, float]]:
    """Seconds an epoch, a row for each number of workers and a column for each way of loading.

    Without workers, there are none to keep: both columns of a way have its one time.
    """
    seconds = {(r["way"], r["workers"], r["kept"]): r["seconds"] for r in rows}
    return [
        {"workers": n}
        | {
            f"{way}{suffix}": seconds[way, n, kept and n > 0]
            for way in ("per_face", "per_batch")
            for suffix, kept in (("", False), ("_kept", True))
        }
        for n in sorted(workers)
    ]


def _make(
    way: str,
    usual: PerFace,
    faces: Faces,
    batch_size: int,
    workers: int,
    persistent: bool,
    device: torch.device,
) -> DataLoader:
    if way == "per_face":
        return DataLoader(
            usual,
            batch_size,
            shuffle=True,
            num_workers=workers,
            persistent_workers=persistent,
            pin_memory=workers > 0 and device.type == "cuda",
        )
    return loader(
        faces,
        _CROP_AND_FLIP,
        batch_size=batch_size,
        seed=0,
        num_workers=workers,
        device=device,
        persistent=persistent,
    )


def _time(batches: DataLoader, repeats: int, device: torch.device) -> float:
    def epoch() -> float:
        start = time.perf_counter()
        for images, labels in batches:
            images.to(device, non_blocking=True)
            labels.to(device, non_blocking=True)
        synchronize(device)
        return time.perf_counter() - start

    epoch()
    return median(epoch() for _ in range(repeats))
