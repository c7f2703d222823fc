"""Find blank, repeated and leaked faces; clean the training split and balance its classes."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from fer.errors import FerError
from fer.faces import Faces, digests, is_in
from fer.params import Prepare


def train_rows(splits: Mapping[str, Faces], prepare: Prepare) -> np.ndarray | None:
    """Choose the training faces to use: some dropped, then the classes balanced.

    Returns:
        Indices int64 [M] into the split "train", ascending; None for all faces as they are.

    Raises:
        FerError: Where no face of a class is left, or `prepare.cap` names no class.
    """
    train = splits["train"]
    kept = np.ones(len(train), bool)
    if prepare.drop_blank:
        kept &= ~is_blank(train)
    if prepare.drop_leaks:
        kept &= ~is_in(train, splits["val"], splits["test"])
    if not kept.any():
        raise FerError("prepare.drop_blank and prepare.drop_leaks leave no training face")
    before = np.bincount(train.labels, minlength=len(train.classes))
    after = np.bincount(train.labels[kept], minlength=len(train.classes))
    lost = [train.classes[label] for label in np.flatnonzero((before > 0) & (after == 0))]
    if lost:
        raise FerError(
            f"prepare.drop_blank and prepare.drop_leaks leave no training face of {', '.join(lost)}"
        )
    if prepare.balance == "none":
        return None if kept.all() else np.flatnonzero(kept)
    if prepare.balance == "cap":
        for name in prepare.cap:
            if name not in train.classes:
                raise FerError(
                    f"prepare.cap names {name}, but the classes are {', '.join(train.classes)}"
                )
    rows = np.flatnonzero(kept)
    numbers = [prepare.cap.get(name) for name in train.classes]
    return rows[balance(train.labels[rows], prepare.balance, numbers, prepare.seed)]


def balance(labels: np.ndarray, method: str, cap: Sequence[int | None], seed: int) -> np.ndarray:
    """Indices int64 [M], ascending, of the faces to use.

    A class that grows keeps every face, and all its faces are repeated alike but for one.

    Args:
        labels: [N], indices of classes.
        method: "oversample" repeats faces up to the largest class. "undersample" drops faces down
            to the smallest class that has any. "cap" brings each class to its number in `cap`.
        cap: Of each class its number of faces, or None to leave it as it is.
        seed: Of the choice.
    """
    counts = np.bincount(labels, minlength=len(cap))
    there = counts[counts > 0]
    targets = {
        "oversample": np.where(counts > 0, there.max(), 0),
        "undersample": np.where(counts > 0, there.min(), 0),
        "cap": np.array([n if most is None else most for most, n in zip(cap, counts, strict=True)]),
    }[method]
    generator = np.random.default_rng(seed)
    chosen = [
        _resample(np.flatnonzero(labels == label), target, generator)
        for label, target in enumerate(targets)
    ]
    return np.sort(np.concatenate(chosen))


def _resample(rows: np.ndarray, target: int, generator: np.random.Generator) -> np.ndarray:
    if not rows.size:
        return rows
    rounds, rest = divmod(target, rows.size)
    return np.concatenate([np.tile(rows, rounds), generator.choice(rows, rest, replace=False)])


def is_blank(faces: Faces) -> np.ndarray:
    """Mask bool [N] of the faces that are of one grey only."""
    flat = faces.images.reshape(len(faces), -1)
    return flat.max(1, initial=0) == flat.min(1, initial=255)


def report(splits: Mapping[str, Faces]) -> dict[str, int]:
    """Number of blank faces, of groups of identical faces, and of leaked val and test faces."""
    groups = defaultdict(list)
    for faces in splits.values():
        for key, label in zip(digests(faces), faces.labels.tolist(), strict=True):
            groups[key].append(label)
    identical = [labels for labels in groups.values() if len(labels) > 1]
    return {
        "blank_faces": sum(int(is_blank(faces).sum()) for faces in splits.values()),
        "identical_groups": len(identical),
        "identical_groups_of_different_labels": sum(len(set(g)) > 1 for g in identical),
        "val_faces_in_train": int(is_in(splits["val"], splits["train"]).sum()),
        "test_faces_in_train": int(is_in(splits["test"], splits["train"]).sum()),
        "test_faces_in_val": int(is_in(splits["test"], splits["val"]).sum()),
    }


def class_counts(
    before: Mapping[str, Faces], after: Mapping[str, Faces]
) -> list[dict[str, str | int]]:
    """Faces of each class in each split before and after cleaning, a row each."""
    return [
        {"split": split, "class": name, "before": before[split].counts()[name], "after": count}
        for split, faces in after.items()
        for name, count in faces.counts().items()
    ]


def intensities(faces: Faces, step: int = 8) -> list[dict[str, str | int | float]]:
    """Share of each class's pixels in each `step` grey values, a row for each class and step."""
    counts = np.zeros((len(faces.classes), 256), np.int64)
    for start in range(0, len(faces), 500):  # bincount makes int64 of all that it is given
        images, labels = faces.images[start : start + 500], faces.labels[start : start + 500]
        keys = labels[:, None, None].astype(np.int64) * 256 + images
        counts += np.bincount(keys.ravel(), minlength=counts.size).reshape(counts.shape)
    shares = counts.reshape(len(counts), -1, step).sum(2) / counts.sum(1, keepdims=True).clip(1)
    return [
        {"class": name, "grey": number * step, "share": round(float(share), 6)}
        for name, row in zip(faces.classes, shares, strict=True)
        for number, share in enumerate(row)
    ]
