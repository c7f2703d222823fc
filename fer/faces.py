"""The face set: images, labels and class names, which the stages hand to each other."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fer.errors import FerError
from fer.files import atomic_path

FACE_SIZE = 48
"""Height and width of a face in pixels."""

INPUT_SIZE = 44
"""Height and width of the middle of it that a network sees."""

MARGIN = (FACE_SIZE - INPUT_SIZE) // 2
"""Pixels on each side of a face that it does not see."""


_FILE = "faces.npz"


MOST_CLASSES = 256
"""Number of classes that a label of one byte can tell apart."""


@dataclass(frozen=True)
class Faces:
    """Grey faces with their labels and the names of the classes.

    Attributes:
        images: uint8 [N, 48, 48], 0 black to 255 white.
        labels: uint8 [N], indices into `classes`.
        classes: Names of the C classes, 2 to 256 of them.
        shares: float32 [N, C], rows that sum to 1: each class's share of a face's votes. None
            where each face has one label. Training learns from them; scores count `labels`.

    Raises:
        ValueError: Where a shape, a dtype or a label does not fit the others.
    """

    images: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    shares: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.images.dtype != np.uint8 or self.images.shape[1:] != (FACE_SIZE, FACE_SIZE):
            raise ValueError(
                f"images: {self.images.dtype} {self.images.shape}, not uint8 [N, 48, 48]"
            )
        if self.labels.dtype != np.uint8 or self.labels.shape != self.images.shape[:1]:
            raise ValueError(f"labels: {self.labels.dtype} {self.labels.shape}, not uint8 [N]")
        if (self.labels >= len(self.classes)).any():
            raise ValueError(f"labels: {self.labels.max()} is none of {len(self.classes)} classes")
        shape = (len(self.labels), len(self.classes))
        if self.shares is not None and (
            self.shares.dtype != np.float32 or self.shares.shape != shape
        ):
            raise ValueError(
                f"shares: {self.shares.dtype} {self.shares.shape}, not float32 {shape}"
            )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, rows: np.ndarray) -> "Faces":
        """The faces at `rows`: indices [M] or a mask [N]."""
        shares = None if self.shares is None else self.shares[rows]
        return Faces(self.images[rows], self.labels[rows], self.classes, shares)

    def targets(self) -> np.ndarray:
        """What a loss takes: `shares`, float32 [N, C], or the labels as int64 [N]."""
        return self.labels.astype(np.int64) if self.shares is None else self.shares

    def counts(self) -> dict[str, int]:
        """Number of faces of each class."""
        numbers = np.bincount(self.labels, minlength=len(self.classes))
        return dict(zip(self.classes, numbers.tolist(), strict=True))

    def save(self, folder: Path) -> None:
        """Write `faces.npz` into `folder`."""
        arrays: dict[str, Any] = {
            "images": self.images,
            "labels": self.labels,
            "classes": np.array(self.classes),
        }
        if self.shares is not None:
            arrays["shares"] = self.shares
        with atomic_path(Path(folder) / _FILE) as path:
            np.savez(path, **arrays)


def load(folder: Path) -> Faces:
    """Read the face set in `folder`. Its format is zip, which has checksums.

    Raises:
        FerError: Where there is no face set, or it is damaged.
    """
    path = Path(folder, _FILE)
    try:
        with np.load(path) as arrays:
            classes = tuple(arrays["classes"].tolist())
            return Faces(arrays["images"], arrays["labels"], classes, arrays.get("shares"))
    except FileNotFoundError as error:
        raise FerError(f"{path}: no face set here; run `dvc repro prepare`") from error
    except Exception as error:  # NumPy and zip have no common error for a damaged file
        raise FerError(f"{path}: is damaged ({error}); delete it and run `dvc repro`") from error


def digests(faces: Faces) -> list[bytes]:
    """A digest of the pixels of each face: faces with the same pixels have the same."""
    return [hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in faces.images]


def is_in(faces: Faces, *others: Faces) -> np.ndarray:
    """Mask bool [N] of the faces whose pixels stand in one of `others`."""
    known = {digest for other in others for digest in digests(other)}
    return np.array([digest in known for digest in digests(faces)], bool)
