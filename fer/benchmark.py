"""Time the ways of loading: face by face as usual, and by whole batches."""

import time
import warnings
from statistics import median

import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from tqdm import tqdm

from fer.faces import INPUT_SIZE, Faces
from fer.loading import loader
from fer.params import Augment, Benchmark
from fer.timing import synchronize

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
    faces: Faces, benchmark: Benchmark, device: torch.device
) -> list[dict[str, str | int | float]]:
    """Seconds of an epoch over `faces` until its batches are on `device`, a row for each way.

    A row has way ("per_face" or "per_batch"), workers (0 is in process), kept (whether the workers
    live from epoch to epoch) and seconds (median of the repeats, after a warm-up). Both ways do
    the same: a random crop of 44x44 and a flip.
    """
    cases = [
        (way, workers, persistent)
        for way in ("per_face", "per_batch")
        for workers in benchmark.workers
        for persistent in ((False, True) if workers else (False,))
    ]
    usual = PerFace(faces)
    rows = []
    with tqdm(cases, unit="way", disable=None) as bar, warnings.catch_warnings():
        # More workers than cores are measured on purpose.
        warnings.filterwarnings("ignore", message="This DataLoader will create")
        for way, workers, persistent in bar:
            batches = _make(way, usual, faces, benchmark.batch_size, workers, persistent, device)
            seconds = _time(batches, benchmark.repeats, device)
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
