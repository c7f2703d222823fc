"""The face set: what the stages hand to each other."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fer.errors import FerError
from fer.files import atomic_path

CLASSES = ("Angry", "Disgust", "Fear", "Happy", "Sad", "Surprise", "Neutral")
"""The emotions, in the order of FER2013's labels 0 to 6."""

FACE_SIZE = 48
"""Height and width of a face in pixels."""

INPUT_SIZE = 44
"""Height and width of the middle of it that a network sees."""

MARGIN = (FACE_SIZE - INPUT_SIZE) // 2
"""Pixels on each side of a face that it does not see."""


_FILE = "faces.npz"


@dataclass(frozen=True)
class Faces:
    """Grey faces and their emotions.

    images: uint8 [N, 48, 48], 0 black to 255 white
    labels: uint8 [N], 0 to 6, indices into `CLASSES`
    """

    images: np.ndarray
    labels: np.ndarray

    def __post_init__(self) -> None:
        if self.images.dtype != np.uint8 or self.images.shape[1:] != (FACE_SIZE, FACE_SIZE):
            raise ValueError(
                f"images: {self.images.dtype} {self.images.shape}, not uint8 [N, 48, 48]"
            )
        if self.labels.dtype != np.uint8 or self.labels.shape != self.images.shape[:1]:
            raise ValueError(f"labels: {self.labels.dtype} {self.labels.shape}, not uint8 [N]")
        if (self.labels >= len(CLASSES)).any():
            raise ValueError(f"labels: {self.labels.max()} is no class, they are 0 to 6")

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, rows: np.ndarray) -> "Faces":
        """The faces at `rows`: indices [M] or a mask [N]."""
        return Faces(self.images[rows], self.labels[rows])

    def counts(self) -> dict[str, int]:
        """Number of faces of each class."""
        return dict(
            zip(CLASSES, np.bincount(self.labels, minlength=len(CLASSES)).tolist(), strict=True)
        )

    def save(self, folder: Path) -> None:
        """Write `faces.npz` into `folder`."""
        with atomic_path(Path(folder) / _FILE) as path:
            np.savez(path, images=self.images, labels=self.labels)


def load(folder: Path) -> Faces:
    """The face set in `folder`, as it was saved: zip, which NumPy's format is, has checksums.

    Raises FerError where there is none, or it is damaged.
    """
    path = Path(folder, _FILE)
    try:
        with np.load(path) as arrays:
            return Faces(arrays["images"], arrays["labels"])
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
