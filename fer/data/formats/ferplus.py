"""FER+: FER2013's faces with the votes of ten people for each.

Barsoum, Zhang, Canton Ferrer and Zhang 2016, arXiv:1608.01041. The votes become labels as in the
authors' code (github.com/microsoft/FERPlus, src/ferplus.py).
"""

import csv

import numpy as np

from fer.data.dataset import DataSet, Dropped
from fer.data.formats import pixels
from fer.data.raw import RawFolder
from fer.errors import FerError
from fer.faces import FACE_SIZE, Faces
from fer.params import Prepare

NAME = "FER+"

CLASSES = (
    *("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt"),
)
"""The classes, in the order of the votes."""

_OF_FER2013 = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")
"""The names here of FER2013's classes, in the order of its labels."""

_CHECKED = 100
"""Rows whose labels are compared with the votes at a time."""

_COLUMNS = (*CLASSES, "unknown", "NF")
_UNKNOWN, _NO_FACE = (_COLUMNS.index(name) for name in ("unknown", "NF"))

_HEADER = b"Usage,Image name," + ",".join(_COLUMNS).encode()


def recognizes(raw: RawFolder) -> bool:
    """Whether there are the votes."""
    return bool(_vote_files(raw))


def read(raw: RawFolder, prepare: Prepare) -> DataSet:
    """Read the faces of FER2013's CSV with the labels that the votes give.

    Training faces have shares of the classes where `prepare.votes` is "soft". Faces without a
    label are left out: "unknown", "no face" and "no majority".

    Raises:
        FerError: Where the CSV of pixels is missing, or its rows are not those of the votes.
    """
    (file, *others), faces = _vote_files(raw), pixels.find(raw)
    if others or len(faces) != 1:
        raise FerError(
            f"{raw.path}: needs FER2013's CSV and one file of votes, found "
            f"{[*faces, file, *others]}"
        )
    print(f"reading {raw.path / faces[0]} and {file}", flush=True)
    usages, votes = _read_votes(raw, file)
    labels = pixels.Labels()
    blocks, _ = pixels.read_table(raw, faces[0], "fail", labels)
    splits = np.concatenate([usage for _, _, usage, _ in blocks])
    lines = np.concatenate([line for *_, line in blocks])
    _check_rows(raw, file, faces[0], usages, splits, lines)
    own = np.concatenate([codes for _, codes, *_ in blocks])
    _check_labels(raw, file, faces[0], own, votes.argmax(1))
    soft = np.array([shares(row) for row in votes], np.float32)
    hard = np.array([majority(row) for row in votes], np.float32)
    found, sources, dropped = {}, {}, []
    images = np.concatenate([block for block, *_ in blocks]).reshape(-1, FACE_SIZE, FACE_SIZE)
    del blocks
    for code, split in enumerate(pixels.USAGES.values()):
        own = soft if prepare.votes == "soft" and split == "train" else hard
        kept = (splits == code) & (own.argmax(1) < len(CLASSES))
        rest = own[kept][:, : len(CLASSES)]
        rest = rest / rest.sum(1, keepdims=True)
        found[split] = Faces(
            images[kept],
            rest.argmax(1).astype(np.uint8),
            CLASSES,
            rest if own is soft else None,
        )
        sources[split] = [f"{faces[0]}:{line}" for line in lines[kept].tolist()]
        for row in np.flatnonzero((splits == code) & ~kept):
            dropped.append(Dropped(f"{faces[0]}:{lines[row]}", _reason(votes[row])))
    return DataSet(found, sources, dropped)


def majority(votes: np.ndarray) -> np.ndarray:
    """The class with more than half of the votes as float64 [10], 1 for it; else "unknown".

    Args:
        votes: Of the 8 classes, "unknown" and "no face", int64 [10]. Single votes do not count.
    """
    counted = np.where(votes > 1, votes, 0)
    label = np.zeros(len(votes))
    best = counted.argmax()
    label[best if counted[best] > counted.sum() / 2 else _UNKNOWN] = 1
    return label


def shares(votes: np.ndarray) -> np.ndarray:
    """Each class's share of the votes, float64 [10], in all 1; for "unknown", 1 there.

    The classes with most votes are taken, until they have three quarters of them, three at most.
    Where they come to half or less, or are too many, or "unknown" or "no face" is among the first,
    the face is unknown.

    Args:
        votes: As for `majority`.
    """
    counted = np.where(votes > 1, votes, 0).astype(float)
    total, taken = counted.sum(), np.zeros(len(votes))
    count, valid = 0, True
    while taken.sum() < 0.75 * total and count < 3 and valid:
        most = counted.max()
        for place in np.flatnonzero(counted == most):
            taken[place], counted[place] = most, 0
            count += 1
            if place >= _UNKNOWN:
                valid = False
                if taken.sum() > most:  # other classes came before
                    taken[place] = 0
                    count -= 1
                break
    if taken.sum() <= total / 2 or count > 3:
        taken = np.zeros(len(votes))
        taken[_UNKNOWN] = 1
    return taken / taken.sum()


def _reason(votes: np.ndarray) -> str:
    """Why a face has no label."""
    counted = np.where(votes > 1, votes, 0)
    best = counted.argmax()
    if counted[best] <= counted.sum() / 2:
        return "no majority"
    return "no face" if best == _NO_FACE else "unknown"


def _vote_files(raw: RawFolder) -> list[str]:
    return [
        name
        for name, head in raw.others().items()
        if head.removeprefix(b"\xef\xbb\xbf").lower().startswith(_HEADER.lower())
    ]


def _read_votes(raw: RawFolder, file: str) -> tuple[list[str], np.ndarray]:
    """Usage of each row, and its votes, int64 [N, 10]."""
    usages, votes = [], []
    text = (line.decode(errors="replace") for line in raw.lines(file))
    rows = csv.reader(text, quoting=csv.QUOTE_NONE)
    next(rows)
    for row in rows:
        if not row:
            continue
        numbers = row[2:]
        if len(numbers) != len(_COLUMNS) or not all(_is_count(number) for number in numbers):
            raise FerError(
                f"{raw.path}/{file}: line {rows.line_num}: has not {len(_COLUMNS)} numbers of "
                "votes; download it anew"
            )
        usages.append(row[0])
        votes.append([int(number) for number in numbers])
    return usages, np.array(votes, np.int64).reshape(-1, len(_COLUMNS))


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 4


def _check_labels(
    raw: RawFolder, votes: str, faces: str, labels: np.ndarray, most: np.ndarray
) -> None:
    """Raise FerError where rows are shifted: FER2013's labels then differ from most voters'.

    They agree in two thirds of the rows, and in a fifth of shifted ones.

    Args:
        raw: The files of the data set.
        votes: Name of the file of votes.
        faces: Name of the CSV.
        labels: FER2013's label of each row, uint8 [N].
        most: Index of the class with most votes, int64 [N].
    """
    if labels.max() >= len(_OF_FER2013):
        raise FerError(
            f"{raw.path}/{faces}: has other labels than 0 to 6; FER+ needs FER2013's CSV"
        )
    agree = np.array([CLASSES.index(name) for name in _OF_FER2013])[labels] == most
    for start in range(0, len(agree) - _CHECKED + 1, _CHECKED):
        if agree[start : start + _CHECKED].mean() < 0.4:
            raise FerError(
                f"{raw.path}: {faces} and {votes} are not of the same faces from row {start + 1} "
                "on; FER+ needs all rows of FER2013, in its order"
            )


def _check_rows(
    raw: RawFolder,
    votes: str,
    faces: str,
    usages: list[str],
    splits: np.ndarray,
    lines: np.ndarray,
) -> None:
    """Raise FerError where the rows of the CSV are not those of the votes, one by one."""
    if len(usages) != len(splits):
        raise FerError(
            f"{raw.path}: {faces} has {len(splits)} rows, and {votes} {len(usages)}; FER+ needs "
            "all rows of FER2013, in its order"
        )
    for row, (usage, split) in enumerate(zip(usages, splits, strict=True)):
        codes = list(pixels.USAGES)
        if split >= len(codes) or usage != codes[split]:
            own = codes[split] if split < len(codes) else "none"
            raise FerError(
                f"{raw.path}/{faces}: line {lines[row]}: Usage is {own}, but {usage} in {votes}; "
                "FER+ needs all rows of FER2013, in its order"
            )
