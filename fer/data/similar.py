"""Find faces of val and test that look nearly like a training face."""

from collections.abc import Mapping

import numpy as np

from fer.core.faces import FACE_SIZE, Faces, is_in

COLUMNS = ("split", "row", "picture", "train_row", "train_picture", "similarity")

_SIDE = 16
"""Pixels per side in which faces are compared, so that small shifts and JPEG do not count."""

_SIMILAR = 0.96
"""Correlation from which nearly all pairs in FER2013 are of one photo (docs/datasets.md)."""

_BATCH = 256
"""Faces compared at once with all of train: 100 MB for 100,000."""


def similar_pairs(
    splits: Mapping[str, Faces], sources: Mapping[str, list[str]]
) -> list[tuple[str, int, str, int, str, float]]:
    """Return the rows of pairs.csv: each face of val and test that is in train, or nearly so.

    A row has the split, the row in its arrays and the name of the face; the row and the name of
    the most similar training face; and the correlation of both, 1 for equal pixels. The most
    similar pairs come first.
    """
    train = _thumbnails(splits["train"].images)
    pairs = []
    for split in ("val", "test"):
        faces = splits[split]
        is_copy = is_in(faces, splits["train"])
        for start in range(0, len(faces), _BATCH):
            similarity = _thumbnails(faces.images[start : start + _BATCH]) @ train.T
            for row, nearest in enumerate(similarity.argmax(1).tolist(), start):
                value = min(float(similarity[row - start, nearest]), 0.9999)
                if value >= _SIMILAR or is_copy[row]:
                    names = sources[split][row], sources["train"][nearest]
                    value = 1.0 if is_copy[row] else round(value, 4)
                    pairs.append((split, row, names[0], nearest, names[1], value))
    return sorted(pairs, key=lambda pair: -pair[-1])


def _thumbnails(images: np.ndarray) -> np.ndarray:
    """Return small faces, float32 [N, 256], each with mean 0 and norm 1."""
    step = FACE_SIZE // _SIDE
    blocks = images.reshape(-1, _SIDE, step, _SIDE, step)
    pixels = blocks.mean((2, 4), dtype=np.float32).reshape(len(images), -1)
    pixels -= pixels.mean(1, keepdims=True)
    return pixels / np.maximum(np.linalg.norm(pixels, axis=1, keepdims=True), 1e-6)
