"""Create the splits that a data set lacks."""

from collections.abc import Set
from dataclasses import replace

import numpy as np

from fer.core.errors import FerError
from fer.core.faces import Faces, digests
from fer.core.params import Prepare
from fer.data.dataset import SPLITS, UNSPLIT, DataSet


def add_missing_splits(data: DataSet, prepare: Prepare, location: str) -> DataSet:
    """Return the data set with train, val and test; existing val and test stay as they are.

    The splits of `data` are "unsplit" alone, or "train" with or without "val" and "test".

    Raises:
        FerError: If there is no train, or too few faces to split.
    """
    splits, sources = dict(data.splits), dict(data.sources)
    whole = UNSPLIT if UNSPLIT in splits else "train"
    if whole not in splits:
        raise FerError(
            f"{location}: has no face for train, only for {', '.join(splits)}; add some to train"
        )
    if not len(splits[whole]):
        raise FerError(
            f"{location}: no face is left to train on (left out: {data.reasons()}); add others"
        )
    all_shares = {split: getattr(prepare.split, split) for split in ("val", "test")}
    shares = {split: share for split, share in all_shares.items() if split not in splits}
    if shares:
        faces, names = splits.pop(whole), sources.pop(whole)
        existing = {digest for split in splits.values() for digest in digests(split)}
        assigned = assign_splits(faces, shares, prepare.seed, existing)
        rows = {split: np.flatnonzero(assigned == split) for split in ("train", *shares)}
        splits |= {split: faces[split_rows] for split, split_rows in rows.items()}
        sources |= {split: [names[row] for row in split_rows] for split, split_rows in rows.items()}
        counts = ", ".join(f"{len(splits[split]):,} {split}" for split in SPLITS)
        source = "train" if whole == "train" else "all faces"
        print(f"split {' and '.join(shares)} off {source}: {counts}", flush=True)
    return replace(
        data,
        splits={split: splits[split] for split in SPLITS},
        sources={split: sources[split] for split in SPLITS},
    )


def assign_splits(
    faces: Faces, shares: dict[str, float], seed: int, existing: Set[bytes] = frozenset()
) -> np.ndarray:
    """Assign each face to a split, class by class (stratified).

    Identical faces get the same split; the label of the first one counts. A class with three or
    more different faces has at least one in each split. Train always has one.

    Args:
        faces: N faces.
        shares: Share of each new split, 0 to 1.
        seed: Seed of the assignment.
        existing: Digests of faces in an existing val or test. They stay in train, so that a new
            split has no face of an existing one.

    Returns:
        str [N], "train" or a key of `shares`.
    """
    groups: dict[bytes, list[int]] = {}
    for row, digest in enumerate(digests(faces)):
        groups.setdefault(digest, []).append(row)
    by_class: dict[int, list[list[int]]] = {label: [] for label in range(len(faces.classes))}
    for digest, rows in groups.items():
        if digest not in existing:
            by_class[int(faces.labels[rows[0]])].append(rows)
    assigned = np.full(len(faces), "train", dtype="<U5")
    generator = np.random.default_rng(seed)
    for class_groups in by_class.values():
        order = generator.permutation(len(class_groups))
        start = 0
        for split, share in shares.items():
            at_least = int(len(class_groups) > len(shares))
            count = max(round(share * len(class_groups)), at_least)
            count = max(0, min(count, len(class_groups) - 1 - start))
            for index in order[start : start + count]:
                assigned[class_groups[index]] = split
            start += count
    return assigned
