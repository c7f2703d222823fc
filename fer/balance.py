"""Clean the training split, and resample it so that its classes are more alike in number."""

from collections.abc import Mapping

import numpy as np

from fer.errors import FerError
from fer.faces import CLASSES, Faces
from fer.params import Prepare
from fer.quality import is_blank, is_in


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
