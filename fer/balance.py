"""Resample a split so that its classes are more alike in number."""

from collections.abc import Mapping

import numpy as np

from fer.faces import CLASSES


def balance(labels: np.ndarray, method: str, cap: Mapping[str, int], seed: int) -> np.ndarray:
    """Indices int64 [M], ascending, of the faces to use.

    labels: [N], 0 to 6
    method: "none"; "oversample" repeats faces up to the largest class; "undersample" drops faces
        down to the smallest class that has any; "cap" brings each class of `cap` to its number
    cap: faces of a class, for the classes it names

    A class that grows keeps every face, and all its faces are repeated alike but for one.
    """
    counts = np.bincount(labels, minlength=len(CLASSES))
    there = counts[counts > 0]
    targets = {
        "none": counts,
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
