"""CSVs of pixels: Kaggle's FER2013, and others with a label and 48x48 pixels per row."""

import csv
import re
import warnings
from contextlib import suppress
from dataclasses import dataclass, field
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

_KAGGLE_NAMES = ("fer2013", "icml_face_data")
"""Names of Kaggle's files without suffix; the first is preferred."""


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
    """Return the good rows of a CSV, and the bad ones."""
    path = raw.path / name
    columns = _Columns(path, raw.heads[name])
    rows, dropped = Rows(), []
    for number, line in enumerate(raw.lines(name), start=1):
        if number == 1 or line.isspace():
            continue
        try:
            split, label, text = columns.fields(line)
            rows.pixels += _parse_pixels(text).tobytes()
        except (ValueError, csv.Error) as reason:
            if on_error == "fail":
                raise FerError(
                    f"{path}: line {number}: {reason}; mend it, or skip bad rows with "
                    "prepare.on_error"
                ) from reason
            dropped.append(Dropped(f"{name}:{number}", "bad row", str(reason)))
            continue
        rows.splits.append(split)
        rows.labels.append(label)
        rows.sources.append(f"{name}:{number}")
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
            fields = next(csv.reader([line], delimiter=self.separator, skipinitialspace=True))
        if len(fields) != len(self.names):
            raise ValueError(f"has {len(fields)} columns, not {len(self.names)}")
        row = dict(zip(self.names, fields, strict=True))
        usage = row[self.usage].strip() if self.usage else None
        split = UNSPLIT if usage is None else SPLIT_NAMES.get(usage.lower())
        if split is None:
            raise ValueError(f"Usage is {usage[:20]!r}, not one of {', '.join(USAGES)}")
        label = read_label(row[self.label])
        if not label:
            raise ValueError("has no label")
        return split, label, row["pixels"].strip()


def _parse_pixels(text: str) -> np.ndarray:
    """Return the pixels of a row, uint8 [2304]; raise a ValueError if one of them is bad."""
    # NumPy before 2.4 warns of a text that is no numbers.
    with suppress(ValueError), warnings.catch_warnings(action="ignore"):
        pixels = np.fromstring(text.encode(), np.int64, sep=" ")
        if pixels.size == _PIXELS and pixels.min() >= 0 and pixels.max() < 256 and "+" not in text:
            return pixels.astype(np.uint8)
    numbers = text.split()
    for position, number in enumerate(numbers, start=1):
        if not re.fullmatch("0*[0-9]{1,3}", number) or int(number) > 255:
            raise ValueError(f"pixel {position} is {number[:20]!r}, not an integer 0 to 255")
    raise ValueError(f"has {len(numbers)} pixels, not {_PIXELS}")
