"""What is wrong with the faces of a data set: blanks, repeats, and leaks between the splits."""

import hashlib
from collections import defaultdict
from collections.abc import Mapping

import numpy as np

from fer.faces import Faces


def is_blank(faces: Faces) -> np.ndarray:
    """Mask bool [N] of the faces that are of one grey only."""
    return (faces.images == faces.images[:, :1, :1]).all((1, 2))


def is_in(faces: Faces, *others: Faces) -> np.ndarray:
    """Mask bool [N] of the faces whose pixels stand in one of `others`."""
    known = {key for other in others for key in _keys(other)}
    return np.array([key in known for key in _keys(faces)], bool)


def report(splits: Mapping[str, Faces]) -> dict[str, int]:
    """Number of blank faces, of groups of identical faces, and of leaked val and test faces."""
    groups = defaultdict(list)
    for faces in splits.values():
        for key, label in zip(_keys(faces), faces.labels.tolist(), strict=True):
            groups[key].append(label)
    identical = [labels for labels in groups.values() if len(labels) > 1]
    return {
        "blank_faces": sum(int(is_blank(faces).sum()) for faces in splits.values()),
        "identical_groups": len(identical),
        "identical_groups_of_different_labels": sum(len(set(g)) > 1 for g in identical),
        "val_faces_in_train": int(is_in(splits["val"], splits["train"]).sum()),
        "test_faces_in_train": int(is_in(splits["test"], splits["train"]).sum()),
    }


def _keys(faces: Faces) -> list[bytes]:
    return [hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in faces.images]
