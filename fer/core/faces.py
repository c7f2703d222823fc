"""The face set that stages pass on: images, labels and class names."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fer.core.errors import FerError
from fer.core.files import atomic_path

FACE_SIZE = 48
"""Height and width of a face in pixels."""

INPUT_SIZE = 44
"""Height and width of a network's input in pixels, the center of a face."""

MARGIN = (FACE_SIZE - INPUT_SIZE) // 2
"""Pixels on each side of a face outside a network's input."""

MAX_CLASSES = 256
"""Largest number of classes, because labels are bytes."""

_FILE = "faces.npz"


@dataclass(frozen=True)
class Faces:
    """Grey faces with their labels and the names of the classes.

    Attributes:
        images: uint8 [N, 48, 48], 0 black to 255 white.
        labels: uint8 [N], indices into `classes`.
        classes: Names of the C classes, 2 to 256 of them.
        soft_labels: float32 [N, C], each class's share of the votes for a face; rows sum to 1.
            None if each face has one label. Training uses them, scores use `labels`.

    Raises:
        ValueError: If a shape, a dtype or a label does not fit.
    """

    images: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    soft_labels: np.ndarray | None = None

    def __post_init__(self) -> None:
        count, classes = len(self.labels), len(self.classes)
        for name, dtype, shape in (
            ("images", "uint8", (count, FACE_SIZE, FACE_SIZE)),
            ("labels", "uint8", (count,)),
            ("soft_labels", "float32", (count, classes)),
        ):
            array = getattr(self, name)
            if array is not None and (array.dtype != dtype or array.shape != shape):
                raise ValueError(f"{name}: {array.dtype} {array.shape}, not {dtype} {shape}")
        if (self.labels >= classes).any():
            raise ValueError(f"labels: {self.labels.max()} is none of {classes} classes")

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, rows: np.ndarray) -> "Faces":
        """Return the faces of `rows`: indices [M], or a mask bool [N]."""
        soft_labels = None if self.soft_labels is None else self.soft_labels[rows]
        return Faces(self.images[rows], self.labels[rows], self.classes, soft_labels)

    def targets(self) -> np.ndarray:
        """Return the targets of a loss: `soft_labels`, or labels as int64 [N]."""
        return self.labels.astype(np.int64) if self.soft_labels is None else self.soft_labels

    def counts(self) -> dict[str, int]:
        """Return the number of faces per class."""
        numbers = np.bincount(self.labels, minlength=len(self.classes))
        return dict(zip(self.classes, numbers.tolist(), strict=True))

    def shares(self) -> dict[str, float]:
        """Return the share of the faces, or of their votes, per class, 0 to 1."""
        if self.soft_labels is None:
            return {name: count / len(self) for name, count in self.counts().items()}
        return dict(zip(self.classes, self.soft_labels.mean(0, dtype=float).tolist(), strict=True))

    def save(self, folder: Path) -> None:
        """Write `faces.npz`; raise a FerError if it cannot be written."""
        arrays: dict[str, Any] = {
            "images": self.images,
            "labels": self.labels,
            "classes": np.array(self.classes),
        }
        if self.soft_labels is not None:
            arrays["soft_labels"] = self.soft_labels
        with atomic_path(Path(folder) / _FILE) as path:
            np.savez(path, **arrays)


def load(folder: Path) -> Faces:
    """Read the face set in a folder.

    Raises:
        FerError: If there is no face set, or it is damaged.
    """
    path = Path(folder, _FILE)
    try:
        with np.load(path) as arrays:
            classes = tuple(arrays["classes"].tolist())
            soft_labels = arrays.get("soft_labels")
            return Faces(arrays["images"], arrays["labels"], classes, soft_labels)
    except Exception as error:  # NumPy and zipfile have no common error for a damaged file
        raise FerError(f"{path}: cannot be read ({error}); run `dvc repro prepare`") from error


def digests(faces: Faces) -> list[bytes]:
    """Return a digest of each face; faces with the same pixels have the same digest."""
    return [hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in faces.images]


def is_in(faces: Faces, *others: Faces) -> np.ndarray:
    """Tell which of N faces have the same pixels as a face of another set, bool [N]."""
    other_digests = {digest for other in others for digest in digests(other)}
    return np.array([digest in other_digests for digest in digests(faces)], bool)
