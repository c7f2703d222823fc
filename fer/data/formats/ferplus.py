"""FER+: the faces of FER2013 with ten votes per face.

Barsoum, Zhang, Canton Ferrer and Zhang 2016, arXiv:1608.01041. Votes become labels as in the
authors' code (github.com/microsoft/FERPlus, src/ferplus.py).
"""

import numpy as np

from fer.core.errors import FerError
from fer.core.faces import Faces
from fer.core.params import Prepare
from fer.data.dataset import SPLIT_NAMES, SPLITS, DataSet, Dropped, group_by_split
from fer.data.formats import pixels
from fer.data.formats.columns import read_header, read_rows
from fer.data.raw import RawFolder

NAME = "FER+"

CLASSES = (
    *("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt"),
)
"""The classes, in the order of the votes."""

_COLUMNS = (*CLASSES, "unknown", "NF")
_UNKNOWN, _NO_FACE = (_COLUMNS.index(name) for name in ("unknown", "NF"))

_HEADER = ["usage", "image name", *map(str.lower, _COLUMNS)]


def find(raw: RawFolder) -> list[str]:
    """Return the files with the header of the votes."""
    return [name for name, head in raw.heads.items() if read_header(head)[0] == _HEADER]


def read(raw: RawFolder, prepare: Prepare) -> DataSet:
    """Read the faces of FER2013's CSV with labels from the votes.

    With `prepare.votes` "soft", training faces are labelled by shares of the votes, val and test by
    majority. Faces without a label are left out, as "unknown" or "no face".
    """
    (file, *others), faces = find(raw), pixels.find(raw)
    if others or len(faces) != 1:
        raise FerError(
            f"{raw.path}: holds {', '.join([*faces, file, *others])}; FER+ needs one CSV of "
            "FER2013 and one file of votes"
        )
    print(f"reading {raw.path / faces[0]} and {file}", flush=True)
    splits, votes = read_votes(raw, file)
    rows, _ = pixels.read_rows(raw, faces[0], "fail")
    if rows.splits != splits:
        raise FerError(
            f"{raw.path}: {faces[0]} has {len(rows.splits)} rows, and {file} {len(splits)}, or "
            "their splits differ; FER+ needs all rows of FER2013, in its order"
        )
    is_soft = prepare.votes == "soft"
    targets = [
        vote_shares(row) if is_soft and split == "train" else majority(row)
        for row, split in zip(votes, splits, strict=True)
    ]
    labels = np.argmax(targets, 1)
    kept = np.flatnonzero(labels < len(CLASSES))
    shares = np.array(targets, np.float32)[kept, : len(CLASSES)]
    shares /= shares.sum(1, keepdims=True)
    return group_by_split(
        Faces(rows.images()[kept], np.uint8(labels[kept]), CLASSES, shares if is_soft else None),
        [splits[row] for row in kept],
        [rows.sources[row] for row in kept],
        [
            Dropped(rows.sources[row], "no face" if labels[row] == _NO_FACE else "unknown")
            for row in np.flatnonzero(labels >= len(CLASSES))
        ],
        SPLITS,
    )


def majority(votes: np.ndarray) -> np.ndarray:
    """Return the class with more than half of the votes, one-hot float64 [10]; else "unknown".

    `votes` are those for the 8 classes, "unknown" and "no face", int64 [10]. Single votes are
    ignored.
    """
    counted = np.where(votes > 1, votes, 0)
    label = np.zeros(len(votes))
    best = counted.argmax()
    label[best if counted[best] > counted.sum() / 2 else _UNKNOWN] = 1
    return label


def vote_shares(votes: np.ndarray) -> np.ndarray:
    """Return each class's share of the votes, float64 [10], which sum to 1.

    The classes with the most votes count, up to three, until they have three quarters of the votes.
    The face is "unknown" if these classes have half of the votes or less, or are more than three.
    "unknown" or "no face" has the whole share if it comes first. `votes` are as for `majority`.
    """
    votes = np.where(votes > 1, votes, 0)
    chosen: list[int] = []
    for index in np.argsort(-votes, kind="stable").tolist():
        is_tied = chosen and votes[index] == votes[chosen[-1]]
        is_enough = len(chosen) >= 3 or sum(votes[chosen]) >= 0.75 * votes.sum()
        if (is_enough and not is_tied) or (chosen and max(index, chosen[0]) >= _UNKNOWN):
            break
        chosen.append(index)
    if len(chosen) > 3 or sum(votes[chosen]) <= votes.sum() / 2:
        return np.eye(len(votes))[_UNKNOWN]
    return np.where(np.isin(np.arange(len(votes)), chosen), votes, 0) / sum(votes[chosen])


def read_votes(raw: RawFolder, file: str) -> tuple[list[str], np.ndarray]:
    """Return the split and the votes of each row, the votes as int64 [N, 10]."""
    splits, votes = [], []
    for location, row in read_rows(raw, file):
        try:
            splits.append(SPLIT_NAMES[row["usage"].lower()])
            votes.append([int(row[name]) for name in _HEADER[2:]])
        except (KeyError, ValueError) as error:
            raise FerError(
                f"{location}: has no Usage and {len(_COLUMNS)} numbers of votes; download it again"
            ) from error
    return splits, np.array(votes).reshape(-1, len(_COLUMNS))
