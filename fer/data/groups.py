"""Keep the pictures of one person, or of one video, in one split."""

import re
import warnings
from collections import Counter
from collections.abc import Mapping, Set
from itertools import chain
from pathlib import PurePosixPath

import numpy as np
from scipy.cluster.hierarchy import DisjointSet
from sklearn.model_selection import StratifiedGroupKFold

from fer.core.errors import FerError
from fer.core.faces import Faces, digests
from fer.data.dataset import DataSet, class_key, warn
from fer.data.raw import is_picture

FOLDER = "folder"
"""`prepare.split.group` for one group per name of the folder that holds a picture."""


def find_groups(data: DataSet, pattern: str, location: str) -> dict[str, np.ndarray]:
    """Return the name of the group of each face, by split, str [N].

    Identical faces join their groups. A picture that does not match is a group of its own.
    """
    sources = list(chain(*data.sources.values()))
    matched = [_group(source, pattern) for source in sources]
    if missing := [source for source, name in zip(sources, matched, strict=True) if not name]:
        if len(missing) == len(sources):
            raise FerError(
                f"{location}: prepare.split.group is {pattern!r}, which matches no picture, such "
                f"as {sources[0]}; correct it"
            )
        warn(f"prepare.split.group does not match {len(missing)} pictures, such as {missing[0]}")
    names = np.array([name or source for name, source in zip(matched, sources, strict=True)])
    labels = np.concatenate([faces.labels for faces in data.splits.values()])
    if len(set(names)) == len(set(zip(names, labels, strict=True))) <= len(data.classes):
        raise FerError(
            f"{location}: prepare.split.group is {pattern!r}, which gives one group per class, but "
            "a class must be in several splits; make a folder per person or video in each class, "
            "or use a pattern of the file names"
        )
    faces = [digest for split in data.splits.values() for digest in digests(split)]
    joined, first = DisjointSet(names.tolist()), {}
    for name, face in zip(names.tolist(), faces, strict=True):
        joined.merge(first.setdefault(face, name), name)
    joined_names = [joined[name] for name in names.tolist()]
    ends = np.cumsum([len(split) for split in data.splits.values()])[:-1]
    return dict(zip(data.splits, np.split(np.array(joined_names), ends), strict=True))


def assign_groups(
    faces: Faces, groups: np.ndarray, shares: Mapping[str, float], seed: int, existing: Set[str]
) -> np.ndarray:
    """Assign N faces to "train" or a key of `shares`, str [N], each group to one.

    The shares of the splits, and of the classes in them, are met as well as can be. Groups that
    are `existing`, those of a given val or test, stay in train.
    """
    assigned = np.full(len(faces), "train")
    rest, left = np.flatnonzero(~np.isin(groups, list(existing))), 1.0
    if len(set(groups[rest])) <= len(shares):
        raise FerError(
            f"prepare.split.group finds {len(set(groups[rest]))} groups for train, "
            f"{' and '.join(shares)}; each needs one, so use another pattern"
        )
    for split, share in shares.items():
        count = min(round(left / share), len(set(groups[rest])))
        folds = StratifiedGroupKFold(max(2, count), shuffle=True, random_state=seed)
        with warnings.catch_warnings(action="ignore"):  # of classes with few faces
            chosen = [own for _, own in folds.split(rest, faces.labels[rest], groups[rest])]
        own = min(chosen, key=lambda own: abs(len(own) - share * len(faces)) + (not len(own)) * 1e9)
        assigned[rest[own]] = split
        rest, left = np.delete(rest, own), left - share
    return assigned


def warn_of_shared_groups(groups: Mapping[str, np.ndarray]) -> None:
    """Warn if a group is in several splits, as in splits that the user gave."""
    counts = Counter(chain(*(set(names) for names in groups.values())))
    if shared := sorted(name for name, count in counts.items() if count > 1):
        warn(f"groups of prepare.split.group in several splits: {len(shared)}, such as {shared[0]}")


def warn_of_shared_stems(data: DataSet) -> None:
    """Warn if names in val or test differ from names in train by their last number only.

    They may be frames of one video, or pictures of one person. A stem that most pictures have, or
    one with the name of a class, says nothing.
    """
    stems = {split: [_stem(source) for source in own] for split, own in data.sources.items()}
    counts = Counter(chain(*stems.values()))
    keys = [class_key(name) for name in data.classes]
    in_train = dict(zip(stems["train"], data.sources["train"], strict=True))
    shared = [
        (in_train[stem], source)
        for split in ("val", "test")
        for stem, source in zip(stems[split], data.sources[split], strict=True)
        if stem in in_train
        and any(map(str.isalpha, stem))
        and counts[stem] <= counts.total() / 2
        and not any(key in class_key(stem) for key in keys)
    ]
    if shared:
        warn(
            f"{len(shared)} pictures of val and test are called like one in train, such as "
            f"{' and '.join(shared[0])}; if they are of one person or video, the accuracy is too "
            "high: set prepare.split.group (docs/datasets.md)"
        )


def _group(source: str, pattern: str) -> str:
    path = PurePosixPath(source)
    if pattern == FOLDER:
        return path.parent.name
    match = re.search(pattern, source if "/" in pattern else path.name)
    return match[0] if match else ""


def _stem(source: str) -> str:
    """Return the name of a picture without the number at its end; "" if it has none."""
    match = re.fullmatch(r"(.*?)[\W_]*\d+", PurePosixPath(source).stem)
    return match[1] if match and is_picture(source) else ""
