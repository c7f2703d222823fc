"""FER+: the faces of FER2013 with ten votes per face.

Barsoum, Zhang, Canton Ferrer and Zhang 2016, arXiv:1608.01041. Votes become labels as in the
authors' code (github.com/microsoft/FERPlus, src/ferplus.py).
"""

import csv

import numpy as np

from fer.core.errors import FerError
from fer.core.faces import FACE_SIZE, Faces
from fer.core.params import Prepare
from fer.data.dataset import DataSet, Dropped
from fer.data.fer2013 import USAGES
from fer.data.formats import pixels
from fer.data.raw import RawFolder

NAME = "FER+"

CLASSES = (
    *("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt"),
)
"""The classes, in the order of the votes."""

_OF_FER2013 = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")
"""Names in FER+ of FER2013's classes, in the order of FER2013's labels."""

_ROWS_PER_CHECK = 100
"""Number of rows in which labels and votes are compared at once."""

_COLUMNS = (*CLASSES, "unknown", "NF")
_UNKNOWN, _NO_FACE = (_COLUMNS.index(name) for name in ("unknown", "NF"))

_HEADER = b"Usage,Image name," + ",".join(_COLUMNS).encode()


def recognizes(raw: RawFolder) -> bool:
    """Tell whether a file has the header of the votes.

    Args:
        raw: The files of the data set.
    """
    return bool(_vote_files(raw))


def read(raw: RawFolder, prepare: Prepare) -> DataSet:
    """Read the faces of FER2013's CSV with labels from the votes.

    With `prepare.votes` "soft", training faces have soft labels. Faces without a label are left
    out, as "unknown", "no face" or "no majority".

    Args:
        raw: The files of the data set.
        prepare: How votes become labels.

    Raises:
        FerError: If the CSV is missing, or its rows are not those of the votes.
    """
    (file, *others), faces = _vote_files(raw), pixels.find(raw)
    if others or len(faces) != 1:
        raise FerError(
            f"{raw.path}: holds {', '.join([*faces, file, *others])}; FER+ needs one CSV of "
            "FER2013 and one file of votes"
        )
    print(f"reading {raw.path / faces[0]} and {file}", flush=True)
    usages, votes = _read_votes(raw, file)
    labels = pixels.Labels()
    blocks, _ = pixels.read_table(raw, faces[0], "fail", labels)
    splits = np.concatenate([usage for _, _, usage, _ in blocks])
    lines = np.concatenate([line for *_, line in blocks])
    _check_rows(raw, file, faces[0], usages, splits, lines)
    fer2013_labels = np.concatenate([codes for _, codes, *_ in blocks])
    _check_labels(raw, file, faces[0], fer2013_labels, votes.argmax(1))
    soft = np.array([vote_shares(row) for row in votes], np.float32)
    hard = np.array([majority(row) for row in votes], np.float32)
    face_sets, sources, dropped = {}, {}, []
    images = np.concatenate([block for block, *_ in blocks]).reshape(-1, FACE_SIZE, FACE_SIZE)
    del blocks
    for code, split in enumerate(USAGES.values()):
        is_soft = prepare.votes == "soft" and split == "train"
        targets = soft if is_soft else hard
        kept = (splits == code) & (targets.argmax(1) < len(CLASSES))
        class_shares = targets[kept][:, : len(CLASSES)]
        class_shares = class_shares / class_shares.sum(1, keepdims=True)
        labels = class_shares.argmax(1).astype(np.uint8)
        face_sets[split] = Faces(images[kept], labels, CLASSES, class_shares if is_soft else None)
        sources[split] = [f"{faces[0]}:{line}" for line in lines[kept].tolist()]
        for row in np.flatnonzero((splits == code) & ~kept):
            dropped.append(Dropped(f"{faces[0]}:{lines[row]}", _reason(votes[row])))
    return DataSet(face_sets, sources, dropped)


def majority(votes: np.ndarray) -> np.ndarray:
    """Return the class with more than half of the votes, one-hot float64 [10]; else "unknown".

    Args:
        votes: Votes for the 8 classes, "unknown" and "no face", int64 [10]. Single votes are
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
    "unknown" or "no face" has the whole share if it comes first.

    Args:
        votes: Votes, as for `majority`.
    """
    remaining = np.where(votes > 1, votes, 0).astype(float)
    total, counted = remaining.sum(), np.zeros(len(votes))
    count, valid = 0, True
    while counted.sum() < 0.75 * total and count < 3 and valid:
        highest = remaining.max()
        for index in np.flatnonzero(remaining == highest):
            counted[index], remaining[index] = highest, 0
            count += 1
            if index >= _UNKNOWN:
                valid = False
                if counted.sum() > highest:  # other classes came first
                    counted[index] = 0
                    count -= 1
                break
    if counted.sum() <= total / 2 or count > 3:
        counted = np.zeros(len(votes))
        counted[_UNKNOWN] = 1
    return counted / counted.sum()


def _reason(votes: np.ndarray) -> str:
    """Return why a face has no label."""
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
    """Return the Usage of each row, and the votes, int64 [N, 10]."""
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
                f"{raw.path}/{file}: line {rows.line_num}: has no {len(_COLUMNS)} numbers of "
                "votes; download it again"
            )
        usages.append(row[0])
        votes.append([int(number) for number in numbers])
    return usages, np.array(votes, np.int64).reshape(-1, len(_COLUMNS))


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 4


def _check_labels(
    raw: RawFolder, votes: str, faces: str, labels: np.ndarray, most_voted: np.ndarray
) -> None:
    """Refuse shifted rows: labels and votes agree in two thirds of the rows, or in a fifth.

    Args:
        raw: The files of the data set.
        votes: Name of the file of votes.
        faces: Name of the CSV.
        labels: FER2013's label of each row, uint8 [N].
        most_voted: Index of the class with the most votes, int64 [N].
    """
    if labels.max() >= len(_OF_FER2013):
        raise FerError(
            f"{raw.path}/{faces}: has other labels than 0 to 6; FER+ needs FER2013's CSV"
        )
    agree = np.array([CLASSES.index(name) for name in _OF_FER2013])[labels] == most_voted
    for start in range(0, len(agree) - _ROWS_PER_CHECK + 1, _ROWS_PER_CHECK):
        if agree[start : start + _ROWS_PER_CHECK].mean() < 0.4:
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
    """Refuse a CSV with other rows than the file of votes."""
    if len(usages) != len(splits):
        raise FerError(
            f"{raw.path}: {faces} has {len(splits)} rows, and {votes} {len(usages)}; FER+ needs "
            "all rows of FER2013, in its order"
        )
    for row, (usage, split) in enumerate(zip(usages, splits, strict=True)):
        codes = list(USAGES)
        if split >= len(codes) or usage != codes[split]:
            shown = codes[split] if split < len(codes) else "none"
            raise FerError(
                f"{raw.path}/{faces}: line {lines[row]}: Usage is {shown}, but {usage} in {votes}; "
                "FER+ needs all rows of FER2013, in its order"
            )
