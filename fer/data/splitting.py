"""Create the splits that a data set lacks."""

from collections.abc import Set
from dataclasses import replace
from itertools import chain

import numpy as np

from fer.core.errors import FerError
from fer.core.faces import Faces, digests
from fer.core.params import Prepare
from fer.data.dataset import SPLITS, UNSPLIT, DataSet
from fer.data.groups import assign_groups, find_groups, warn_of_shared_groups


def add_missing_splits(data: DataSet, prepare: Prepare, location: str) -> DataSet:
    """Return the data set with train, val and test; existing val and test stay as they are."""
    splits, sources = dict(data.splits), dict(data.sources)
    whole = UNSPLIT if UNSPLIT in splits else "train"
    if whole not in splits:
        raise FerError(
            f"{location}: has no face for train, only for {', '.join(splits)}; add some to train"
        )
    pattern = prepare.split.group
    groups = find_groups(data, pattern, location) if pattern != "none" else {}
    shares = {split: getattr(prepare.split, split) for split in SPLITS[1:] if split not in splits}
    if shares:
        faces, names = splits.pop(whole), sources.pop(whole)
        own = groups.pop(whole, None)
        if own is None:
            existing = {digest for split in splits.values() for digest in digests(split)}
            assigned = assign_splits(faces, shares, prepare.seed, existing)
        else:
            taken = set(chain(*groups.values()))
            assigned = assign_groups(faces, own, shares, prepare.seed, taken)
        for split in ("train", *shares):
            rows = np.flatnonzero(assigned == split)
            splits[split], sources[split] = faces[rows], [names[row] for row in rows]
            if own is not None:
                groups[split] = own[rows]
        counts = ", ".join(f"{len(splits[split]):,} {split}" for split in SPLITS)
        print(f"split off {' and '.join(shares)}: {counts}", flush=True)
    warn_of_shared_groups(groups)
    return replace(
        data,
        splits={split: splits[split] for split in SPLITS},
        sources={split: sources[split] for split in SPLITS},
        groups={split: own.tolist() for split, own in groups.items()},
    )


def assign_splits(
    faces: Faces, shares: dict[str, float], seed: int, existing: Set[bytes] = frozenset()
) -> np.ndarray:
    """Assign N faces to "train" or a key of `shares`, class by class (stratified), str [N].

    Identical faces get the same split; the label of the first one counts. A class with three or
    more different faces has at least one in each split. Train always has one. Faces whose digests
    are `existing`, those of a given val or test, stay in train.
    """
    keys = digests(faces)
    labels: dict[bytes, int] = {}
    for key, label in zip(keys, faces.labels.tolist(), strict=True):
        labels.setdefault(key, label)
    split_of = dict.fromkeys(keys, "train")
    generator = np.random.default_rng(seed)
    for label in range(len(faces.classes)):
        own = [key for key in labels if labels[key] == label and key not in existing]
        order = generator.permutation(len(own))
        start = 0
        for split, share in shares.items():
            at_least = int(len(own) > len(shares))
            count = max(round(share * len(own)), at_least)
            count = max(0, min(count, len(own) - 1 - start))
            split_of |= {own[index]: split for index in order[start : start + count]}
            start += count
    return np.array([split_of[key] for key in keys])
