"""Clean the training split, balance its classes, and describe the data set."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from fer.core.errors import FerError
from fer.core.faces import Faces, digests, is_in
from fer.core.params import Prepare


def select_train_rows(splits: Mapping[str, Faces], prepare: Prepare) -> np.ndarray | None:
    """Return the ascending indices int64 [M] of the training faces to use; None for all of them."""
    train = splits["train"]
    kept = np.ones(len(train), bool)
    if prepare.drop_blank:
        kept &= ~is_blank(train)
    if prepare.drop_leaks:
        kept &= ~is_in(train, splits["val"], splits["test"])
    if lost := set(train.labels.tolist()) - set(train.labels[kept].tolist()):
        raise FerError(
            "prepare.drop_blank and prepare.drop_leaks leave no training face of "
            f"{', '.join(train.classes[label] for label in sorted(lost))}; turn one of them off"
        )
    if prepare.balance == "none":
        return None if kept.all() else np.flatnonzero(kept)
    unknown = set(prepare.cap) - set(train.classes)
    if prepare.balance == "cap" and unknown:
        raise FerError(
            f"prepare.cap names {min(unknown)}, which is no class; choose among "
            f"{', '.join(train.classes)}"
        )
    rows = np.flatnonzero(kept)
    numbers = [prepare.cap.get(name) for name in train.classes]
    return rows[balance(train.labels[rows], prepare.balance, numbers, prepare.seed)]


def balance(labels: np.ndarray, method: str, cap: Sequence[int | None], seed: int) -> np.ndarray:
    """Return the ascending indices int64 [M] of the faces to use, so that classes are balanced.

    `labels` are N indices of classes. "oversample" repeats faces up to the largest class.
    "undersample" drops faces down to the smallest class that has faces. "cap" brings each class to
    its number in `cap`; None leaves a class as it is. A class that grows keeps every face;
    repetitions of its faces differ by at most one.
    """
    counts = np.bincount(labels, minlength=len(cap))
    present = counts[counts > 0]
    number = {"oversample": present.max(), "undersample": present.min()}.get(method)
    generator = np.random.default_rng(seed)
    chosen = []
    for label in np.flatnonzero(counts):
        rows = np.flatnonzero(labels == label)
        repeats, remainder = divmod(number or cap[label] or rows.size, rows.size)
        chosen += [np.tile(rows, repeats), generator.choice(rows, remainder, replace=False)]
    return np.sort(np.concatenate(chosen))


def is_blank(faces: Faces) -> np.ndarray:
    """Tell which of N faces have a single grey value, bool [N]."""
    return faces.images.max((1, 2)) == faces.images.min((1, 2))


def count_problems(splits: Mapping[str, Faces]) -> dict[str, int]:
    """Count blank faces, groups of identical faces, and faces that are in several splits."""
    labels = pd.Series([label for faces in splits.values() for label in faces.labels.tolist()])
    copies = labels.groupby([key for faces in splits.values() for key in digests(faces)])
    return {
        "blank_faces": sum(int(is_blank(faces).sum()) for faces in splits.values()),
        "identical_groups": int((copies.size() > 1).sum()),
        "identical_groups_of_different_labels": int((copies.nunique() > 1).sum()),
        "val_faces_in_train": int(is_in(splits["val"], splits["train"]).sum()),
        "test_faces_in_train": int(is_in(splits["test"], splits["train"]).sum()),
        "test_faces_in_val": int(is_in(splits["test"], splits["val"]).sum()),
    }


def class_counts(
    before: Mapping[str, Faces], after: Mapping[str, Faces]
) -> list[dict[str, str | int]]:
    """Return the number of faces per split and class, before and after cleaning."""
    return [
        {"split": split, "class": name, "before": before[split].counts()[name], "after": count}
        for split, faces in after.items()
        for name, count in faces.counts().items()
    ]
