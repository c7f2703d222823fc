"""CSVs of pixels: Kaggle's FER2013, and others with a label and 48x48 pixels per row."""

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path, PurePosixPath

import numpy as np

from fer.core.errors import FerError
from fer.core.faces import FACE_SIZE, Faces
from fer.core.params import Prepare
from fer.data.dataset import SPLIT_NAMES, UNSPLIT, DataSet, Dropped, group_by_split
from fer.data.fer2013 import CLASSES, USAGES
from fer.data.formats.columns import (
    LABEL_COLUMNS,
    SPLIT_COLUMNS,
    first_column,
    read_header,
    read_label,
)
from fer.data.labels import FILE, names_file, number_labels
from fer.data.raw import RawFolder

NAME = "a CSV of pixels"

_PIXELS = FACE_SIZE * FACE_SIZE
_BATCH = 8
"""Number of rows that are parsed at once; the arrays of more do not fit a core's cache."""

_KAGGLE_NAMES = ("fer2013", "icml_face_data")
"""Names of Kaggle's files without suffix; the first is preferred."""


class BadRowError(ValueError):
    """A row that is no face; the message says why."""


@dataclass
class Rows:
    """The rows of a CSV in their order, as columns: `sources` are lines such as "faces.csv:2"."""

    splits: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    pixels: bytearray = field(default_factory=bytearray)

    def images(self) -> np.ndarray:
        """Return the faces, uint8 [N, 48, 48], in the memory of `pixels`."""
        return np.frombuffer(self.pixels, np.uint8).reshape(-1, FACE_SIZE, FACE_SIZE)

    def add(self, name: str, lines: Sequence[tuple[int, str]], columns: "_Columns") -> None:
        """Add the numbered lines of a file; if one of them is no face, raise BadRowError."""
        splits, labels, texts = zip(*(columns.fields(line) for _, line in lines), strict=True)
        self.pixels += _parse_pixels([text.encode() for text in texts]).tobytes()
        self.splits += splits
        self.labels += labels
        self.sources += [f"{name}:{number}" for number, _ in lines]


def read(raw: RawFolder, prepare: Prepare) -> DataSet:
    """Read the CSV in the folder.

    The columns are, in any order: emotion (or label, class or expression), pixels (2,304 integers
    from 0 to 255, row by row, separated by blanks) and, if there are splits, Usage (Training,
    PublicTest or PrivateTest; or train, val or test). Labels are words, or numbers.
    """
    (name, *others) = find(raw)
    if others:
        raise FerError(
            f"{raw.path}: holds {' and '.join([name, *others])}; keep one file of faces, such as "
            "Kaggle's icml_face_data.csv, which has the labels of all splits"
        )
    print(f"reading {raw.path / name}", flush=True)
    rows, dropped = read_rows(raw, name, prepare.on_error)
    names = None
    if set(rows.labels) == set("0123456") and not names_file(raw):
        print(f"labels 0 to 6 are FER2013's: {', '.join(CLASSES)} ({FILE} names others)")
        names = {str(number): name for number, name in enumerate(CLASSES)}
    labels, classes = number_labels(raw, rows.labels, names)
    faces = Faces(rows.images(), labels, classes)
    return group_by_split(faces, rows.splits, rows.sources, dropped, dict.fromkeys(rows.splits))


def find(raw: RawFolder) -> list[str]:
    """Return the names of the files with a column of pixels.

    Files with Kaggle's names are preferred to others, and unpacked files to packed copies.
    """
    files = sorted(name for name, head in raw.heads.items() if "pixels" in read_header(head)[0])
    unpacked = [name for name in files if raw.file(name) == raw.path / name]
    stems = set(map(_stem, unpacked))
    files = [name for name in files if name in unpacked or _stem(name) not in stems]
    for stem in _KAGGLE_NAMES:
        if best := [name for name in files if _stem(name) == stem]:
            return best
    return files


def _stem(name: str) -> str:  # "a/FER2013.csv.gz" gives "fer2013"
    return PurePosixPath(name).name.lower().partition(".")[0]


def read_rows(raw: RawFolder, name: str, on_error: str) -> tuple[Rows, list[Dropped]]:
    """Return the good rows of a CSV, and the bad ones.

    Raises:
        FerError: If the file is no such CSV, or a row is bad and `on_error` is "fail".
    """
    path = raw.path / name
    columns = _Columns(path, raw.heads[name])
    rows, dropped = Rows(), []
    numbered = enumerate(raw.lines(name), start=1)
    next(numbered)  # the header
    lines = ((number, line) for number, line in numbered if not line.isspace())
    while batch := list(islice(lines, _BATCH)):
        try:
            rows.add(name, batch, columns)
            continue
        except BadRowError:
            pass  # one by one, to find which
        for number, line in batch:
            try:
                rows.add(name, [(number, line)], columns)
            except BadRowError as reason:
                if on_error == "fail":
                    raise FerError(
                        f"{path}: line {number}: {reason}; mend it, or skip bad rows with "
                        "prepare.on_error"
                    ) from reason
                dropped.append(Dropped(f"{name}:{number}", "bad row", str(reason)))
    if not rows.labels:
        raise FerError(f"{path}: has no rows of faces; add some")
    return rows, dropped


class _Columns:
    """The columns of a CSV, by its first bytes."""

    def __init__(self, path: Path, head: bytes) -> None:
        self.names, self.separator, _ = read_header(head)
        self.label = first_column(self.names, LABEL_COLUMNS)
        self.usage = first_column(self.names, SPLIT_COLUMNS)
        if self.label is None:
            raise FerError(
                f"{path}: line 1: has no column {' or '.join(LABEL_COLUMNS)}, only {self.names}; "
                "add it, or use Kaggle's icml_face_data.csv, which has the labels of all faces"
            )

    def fields(self, line: str) -> tuple[str, str, str]:
        """Return split, label and the text of the pixels."""
        fields = line.split(self.separator)
        if '"' in line:  # csv.reader takes a hundred times as long
            try:
                fields = next(csv.reader([line], delimiter=self.separator, skipinitialspace=True))
            except csv.Error as error:
                raise BadRowError(f"is not CSV ({error})") from error
        if len(fields) != len(self.names):
            raise BadRowError(f"has {len(fields)} columns, not {len(self.names)}")
        row = dict(zip(self.names, fields, strict=True))
        usage = row[self.usage].strip() if self.usage else None
        split = UNSPLIT if usage is None else SPLIT_NAMES.get(usage.lower())
        if split is None:
            raise BadRowError(f"Usage is {usage[:20]!r}, not one of {', '.join(USAGES)}")
        label = read_label(row[self.label])
        if not label:
            raise BadRowError("has no label")
        return split, label, row["pixels"].strip()


def _parse_pixels(texts: Sequence[bytes]) -> np.ndarray:
    """Return the pixels of N rows, uint8 [N, 2304]; raise BadRowError if one of them is bad."""
    text = np.frombuffer(b"   " + b" ".join(texts) + b" ", np.uint8)
    is_space = text == ord(" ")
    digit = (text - ord("0")) * ~is_space
    # At each place, the number of up to three digits that would end before it.
    number = digit[:-3] * ~is_space[1:-2] * np.uint16(10) + digit[1:-2]
    number = number * 10 + digit[2:-1]
    pixels = number.compress(is_space[3:])
    row_ends = np.cumsum([len(row) + 1 for row in texts])[:-1]
    counts = [np.count_nonzero(row) for row in np.split(is_space[3:], row_ends)]
    digits = pixels.size + np.count_nonzero(pixels > 9) + np.count_nonzero(pixels > 99)
    if (
        counts == [_PIXELS] * len(texts)
        and digit.max() < 10
        and pixels.max() < 256
        and not (is_space[2:-1] & is_space[3:]).any()  # no empty number
        and digits + pixels.size == len(is_space) - 3  # no number with more digits than it needs
    ):
        return pixels.reshape(-1, _PIXELS).astype(np.uint8)
    return np.array([_parse_row(row) for row in texts], np.uint8).reshape(-1, _PIXELS)


def _parse_row(text: bytes) -> list[int]:
    """Return the 2304 pixels of a row that may have more blanks, or zeros before a number."""
    numbers = text.split()
    for position, number in enumerate(numbers, start=1):
        if not re.fullmatch(rb"0*[0-9]{1,3}", number) or int(number[-3:]) > 255:
            shown = repr(number[:20].decode(errors="backslashreplace"))
            raise BadRowError(f"pixel {position} is {shown}, not an integer 0 to 255")
    if len(numbers) != _PIXELS:
        raise BadRowError(f"has {len(numbers)} pixels, not {_PIXELS}")
    return [int(number[-3:]) for number in numbers]
