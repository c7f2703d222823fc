"""FER+: the faces of FER2013 with ten votes per face.

Barsoum, Zhang, Canton Ferrer and Zhang 2016, arXiv:1608.01041. Votes become labels as in the
authors' code (github.com/microsoft/FERPlus, src/ferplus.py).
"""

import csv
from collections import defaultdict

import numpy as np

from fer.core.errors import FerError
from fer.core.faces import Faces
from fer.core.params import Prepare
from fer.data.dataset import SPLIT_NAMES, SPLITS, DataSet, Dropped
from fer.data.formats import pixels
from fer.data.formats.columns import read_header
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

_HEADER = [name.lower() for name in ("Usage", "Image name", *_COLUMNS)]


def recognizes(raw: RawFolder) -> bool:
    """Tell whether a file has the header of the votes."""
    return bool(_vote_files(raw))


def read(raw: RawFolder, prepare: Prepare) -> DataSet:
    """Read the faces of FER2013's CSV with labels from the votes.

    With `prepare.votes` "soft", training faces have soft labels. Faces without a label are left
    out, as "unknown", "no face" or "no majority".

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
    all_votes = _read_votes(raw, file)
    rows_by_split, _ = pixels.read_rows(raw, faces[0], "fail")
    face_sets, sources, dropped = {}, {}, []
    for split in SPLITS:
        rows = rows_by_split.get(split, pixels.Rows(faces[0]))
        votes = all_votes[split]
        if len(rows.lines) != len(votes):
            raise FerError(
                f"{raw.path}: {faces[0]} has {len(rows.lines)} rows of {split}, and {file} "
                f"{len(votes)}; FER+ needs all rows of FER2013, in its order"
            )
        _check_labels(raw, file, rows, votes)
        is_soft = prepare.votes == "soft" and split == "train"
        label_one = vote_shares if is_soft else majority
        targets = np.array([label_one(row) for row in votes], np.float32)
        kept = targets.argmax(1) < len(CLASSES)
        class_shares = targets[kept][:, : len(CLASSES)]
        class_shares = class_shares / class_shares.sum(1, keepdims=True)
        labels = class_shares.argmax(1).astype(np.uint8)
        soft_labels = class_shares if is_soft else None
        face_sets[split] = Faces(rows.images()[kept], labels, CLASSES, soft_labels)
        names = rows.sources()
        sources[split] = [names[row] for row in np.flatnonzero(kept)]
        dropped += [Dropped(names[row], _reason(votes[row])) for row in np.flatnonzero(~kept)]
    return DataSet(face_sets, sources, dropped)


def majority(votes: np.ndarray) -> np.ndarray:
    """Return the class with more than half of the votes, one-hot float64 [10]; else "unknown".

    `votes` are those for the 8 classes, "unknown" and "no face", int64 [10]. Single votes are
    ignored.
    """
    counted = _counted(votes)
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
    remaining = _counted(votes).astype(float)
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


def _counted(votes: np.ndarray) -> np.ndarray:
    return np.where(votes > 1, votes, 0)


def _reason(votes: np.ndarray) -> str:
    """Return why a face has no label."""
    counted = _counted(votes)
    best = counted.argmax()
    if counted[best] <= counted.sum() / 2:
        return "no majority"
    return "no face" if best == _NO_FACE else "unknown"


def _vote_files(raw: RawFolder) -> list[str]:
    return [name for name, head in raw.heads.items() if read_header(head)[0] == _HEADER]


def _read_votes(raw: RawFolder, file: str) -> dict[str, np.ndarray]:
    """Return the votes of each split, int64 [N, 10], in the order of the file."""
    votes = defaultdict(list)
    rows = csv.reader(raw.lines(file), delimiter=read_header(raw.heads[file])[1])
    next(rows)
    for usage, *numbers in filter(None, rows):
        split, counts = SPLIT_NAMES.get(usage.lower()), numbers[1:]
        if not split or len(counts) != len(_COLUMNS) or not all(map(_is_count, counts)):
            raise FerError(
                f"{raw.path}/{file}: line {rows.line_num}: has no Usage and {len(_COLUMNS)} "
                "numbers of votes; download it again"
            )
        votes[split].append([int(number) for number in counts])
    return {s: np.array(votes[s], np.int64).reshape(-1, len(_COLUMNS)) for s in SPLITS}


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 4


def _check_labels(raw: RawFolder, file: str, rows: pixels.Rows, votes: np.ndarray) -> None:
    """Refuse shifted rows: labels and votes agree in two thirds of the rows, or in a fifth."""
    numbers = {str(number): CLASSES.index(name) for number, name in enumerate(_OF_FER2013)}
    if not numbers.keys() >= set(rows.labels):
        raise FerError(
            f"{raw.path}/{rows.file}: has other labels than 0 to 6; FER+ needs FER2013's CSV"
        )
    agree = np.array([numbers[label] for label in rows.labels], int) == votes.argmax(1)
    for start in range(0, len(agree) - _ROWS_PER_CHECK + 1, _ROWS_PER_CHECK):
        if agree[start : start + _ROWS_PER_CHECK].mean() < 0.4:
            raise FerError(
                f"{raw.path}: {rows.file} and {file} are not of the same faces from line "
                f"{rows.lines[start]} on; FER+ needs all rows of FER2013, in its order"
            )
