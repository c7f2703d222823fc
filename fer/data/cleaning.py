"""Find blank, repeated and leaked faces; clean the training split and balance its classes."""

from collections import defaultdict
from collections.abc import Mapping

import numpy as np

from fer.errors import FerError
from fer.faces import CLASSES, Faces, digests, is_in
from fer.params import Prepare


def clean_train(splits: Mapping[str, Faces], prepare: Prepare) -> Faces:
    """The split "train" without the faces that are to be dropped, then balanced.

    Raises FerError where no face is left.
    """
    train = splits["train"]
    if prepare.drop_blank:
        train = train[~is_blank(train)]
    if prepare.drop_leaks:
        train = train[~is_in(train, splits["val"], splits["test"])]
    if not len(train):
        raise FerError("prepare.drop_blank and prepare.drop_leaks leave no training face")
    if prepare.balance == "none":
        return train
    return train[balance(train.labels, prepare.balance, prepare.cap, prepare.seed)]


def balance(labels: np.ndarray, method: str, cap: Mapping[str, int], seed: int) -> np.ndarray:
    """Indices int64 [M], ascending, of the faces to use.

    labels: [N], 0 to 6
    method: "oversample" repeats faces up to the largest class; "undersample" drops faces
        down to the smallest class that has any; "cap" brings each class of `cap` to its number
    cap: faces of a class, for the classes it names

    A class that grows keeps every face, and all its faces are repeated alike but for one.
    """
    counts = np.bincount(labels, minlength=len(CLASSES))
    there = counts[counts > 0]
    targets = {
        "oversample": np.where(counts > 0, there.max(), 0),
        "undersample": np.where(counts > 0, there.min(), 0),
        "cap": np.array([cap.get(name, n) for name, n in zip(CLASSES, counts, strict=True)]),
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
    return (faces.images == faces.images[:, :1, :1]).all((1, 2))


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


def intensities(faces: Faces, step: int = 8) -> list[dict[str, int | float]]:
    """Share of each class's pixels in each `step` grey values, a row for each step."""
    counts = np.zeros((len(CLASSES), 256), np.int64)
    for start in range(0, len(faces), 500):  # bincount makes int64 of all that it is given
        some = faces[np.arange(start, min(start + 500, len(faces)))]
        keys = some.labels[:, None, None].astype(np.int64) * 256 + some.images
        counts += np.bincount(keys.ravel(), minlength=counts.size).reshape(counts.shape)
    shares = counts.reshape(len(CLASSES), -1, step).sum(2) / counts.sum(1, keepdims=True).clip(1)
    return [
        {"grey": number * step} | dict(zip(CLASSES, column.round(6).tolist(), strict=True))
        for number, column in enumerate(shares.T)
    ]
