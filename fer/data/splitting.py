"""Cut the splits that a data set lacks from those that it has."""

from collections.abc import Set

import numpy as np

from fer.data.dataset import UNSPLIT, DataSet
from fer.data.pictures import keep_rows
from fer.errors import FerError
from fer.faces import Faces, digests
from fer.params import Prepare

SPLITS = ("train", "val", "test")


def complete(data: DataSet, prepare: Prepare, place: str) -> DataSet:
    """The data set with the splits train, val and test.

    What is missing is cut from train by `cut`. A val or test that is there stays as it is. The
    memory of the faces that are split is used again: `data` must not be read afterwards.

    Args:
        data: Its splits are "unsplit" alone, or "train" with or without "val" and "test".
        prepare: Its `split` has the shares, its `seed` decides who is where.
        place: Of the data set, for errors.

    Raises:
        FerError: Where there is no train, or too few faces to split.
    """
    splits, sources = dict(data.splits), dict(data.sources)
    whole = UNSPLIT if UNSPLIT in splits else "train"
    if whole not in splits:
        raise FerError(f"{place}: has no face for train; its splits are {', '.join(splits)}")
    if not len(splits[whole]):
        raise FerError(f"{place}: no face is left to train on; left out: {data.reasons()}")
    wanted = {split: getattr(prepare.split, split) for split in ("val", "test")}
    shares = {split: share for split, share in wanted.items() if split not in splits}
    if shares:
        faces, names = splits.pop(whole), sources.pop(whole)
        given = {digest for own in splits.values() for digest in digests(own)}
        sides = cut(faces, shares, prepare.seed, given)
        rows = {split: np.flatnonzero(sides == split) for split in ("train", *shares)}
        for split in shares:
            splits[split] = faces[rows[split]]
        votes = None if faces.shares is None else faces.shares[rows["train"]]
        images, labels = (keep_rows(own, rows["train"]) for own in (faces.images, faces.labels))
        splits["train"] = Faces(images, labels, faces.classes, votes)
        sources |= {split: [names[row] for row in own] for split, own in rows.items()}
        counts = ", ".join(f"{len(splits[split]):,} {split}" for split in SPLITS)
        source = "train" if whole == "train" else "all faces"
        print(f"cut {' and '.join(shares)} from {source}: {counts}", flush=True)
    return DataSet(
        {split: splits[split] for split in SPLITS},
        {split: sources[split] for split in SPLITS},
        data.dropped,
    )


def cut(
    faces: Faces, shares: dict[str, float], seed: int, given: Set[bytes] = frozenset()
) -> np.ndarray:
    """The split of each face, str [N]: "train", or one of `shares`.

    Each class is split by the shares. Identical faces stay together, in the class of the first of
    them. A class of three or more different faces has one in each split at least, and train always
    has one.

    Args:
        faces: The faces to split.
        shares: Of each split that is cut, 0 to 1.
        seed: Decides who is where, with the faces and their order.
        given: Digests of faces in a val or test that is there. These stay in train, so that no
            split that is cut has faces of one that was given.
    """
    groups: dict[bytes, list[int]] = {}
    for row, digest in enumerate(digests(faces)):
        groups.setdefault(digest, []).append(row)
    by_class: dict[int, list[list[int]]] = {label: [] for label in range(len(faces.classes))}
    for digest, rows in groups.items():
        if digest not in given:
            by_class[int(faces.labels[rows[0]])].append(rows)
    sides = np.full(len(faces), "train", dtype="<U5")
    generator = np.random.default_rng(seed)
    for own in by_class.values():
        order = generator.permutation(len(own))
        start = 0
        for split, share in shares.items():
            count = max(round(share * len(own)), int(len(own) > len(shares)))
            count = min(count, len(own) - 1 - start)
            for place in order[start : start + max(count, 0)]:
                sides[own[place]] = split
            start += max(count, 0)
    return sides
