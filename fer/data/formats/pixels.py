"""CSVs of pixels: Kaggle's FER2013, and others with a label and 48x48 pixels per row."""

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path, PurePosixPath

import numpy as np
from tqdm import tqdm

from fer.core.errors import FerError
from fer.core.faces import FACE_SIZE, Faces
from fer.core.params import Prepare
from fer.data.dataset import SPLIT_NAMES, UNSPLIT, DataSet, Dropped, check_classes, warn
from fer.data.fer2013 import CLASSES, USAGES
from fer.data.formats.columns import SPLIT_COLUMNS, first_column, read_header
from fer.data.labels import FILE, class_names, names_file
from fer.data.raw import RawFolder

NAME = "a CSV of pixels"

_PIXELS = FACE_SIZE * FACE_SIZE
_LABEL_COLUMNS = ("emotion", "label", "class")
_BATCH = 8
"""Number of rows that are parsed at once; the arrays of more do not fit a core's cache."""

_KAGGLE_NAMES = ("fer2013", "icml_face_data")
"""Names of Kaggle's files without suffix; the first is preferred."""


class BadRowError(ValueError):
    """A row that is no face; the message says why."""


@dataclass
class Rows:
    """The rows of a split.

    Attributes:
        file: Name of the CSV.
        pixels: 2304 bytes per row.
        labels: The label of each row, as in the CSV.
        lines: The number of each row's line.
    """

    file: str
    pixels: bytearray = field(default_factory=bytearray)
    labels: list[str] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)

    def images(self) -> np.ndarray:
        """Return the faces, uint8 [N, 48, 48], in the memory of `pixels`."""
        return np.frombuffer(self.pixels, np.uint8).reshape(-1, FACE_SIZE, FACE_SIZE)

    def sources(self) -> list[str]:
        """Return file and line of each row, such as "faces.csv:2"."""
        return [f"{self.file}:{line}" for line in self.lines]


def recognizes(raw: RawFolder) -> bool:
    """Tell whether a file has a column of pixels."""
    return bool(find(raw))


def read(raw: RawFolder, prepare: Prepare) -> DataSet:
    """Read the CSV in the folder, or the pair train.csv and test.csv.

    The columns are, in any order: emotion (or label, or class), pixels (2,304 integers from 0 to
    255, row by row, separated by blanks) and, if there are splits, Usage (Training, PublicTest or
    PrivateTest; or train, val or test). Labels are words, or the numbers 0 to n-1.

    Raises:
        FerError: If the file is no such CSV; the message names the line where there is one.
    """
    names = find(raw)
    is_pair = sorted(map(_stem, names)) == ["test", "train"]
    if len(names) > 1 and not is_pair:
        raise FerError(f"{raw.path}: holds {' and '.join(names)}; keep one file of faces")
    others = [name for name in _with_pixels(raw) if name not in names]
    if others:
        warn(f"other files of faces that are not read: {', '.join(others)}")
    splits: dict[str, Rows] = {}
    dropped: list[Dropped] = []
    for name in names:
        print(f"reading {raw.path / name}", flush=True)
        rows, bad_rows = read_rows(raw, name, prepare.on_error, _stem(name) if is_pair else None)
        splits |= rows
        dropped += bad_rows
    classes, indices = _classes(raw, list(splits.values()))
    faces = {
        split: Faces(
            rows.images(), np.array([indices[label] for label in rows.labels], np.uint8), classes
        )
        for split, rows in splits.items()
    }
    return DataSet(faces, {split: rows.sources() for split, rows in splits.items()}, dropped)


def find(raw: RawFolder) -> list[str]:
    """Return the names of the files with a column of pixels.

    Files with Kaggle's names are preferred to others, and unpacked files to packed copies.
    """
    files = _with_pixels(raw)
    first = min(map(_rank, files), default=None)
    best = [name for name in files if _rank(name) == first]
    packed = {name for name in best if raw.file(name) != raw.path / name}
    plain = {_stem(name) for name in best if name not in packed}
    return [name for name in best if name not in packed or _stem(name) not in plain]


def _with_pixels(raw: RawFolder) -> list[str]:
    return sorted(name for name, head in raw.heads.items() if "pixels" in read_header(head)[0])


def _rank(name: str) -> int:
    stem = _stem(name)
    return _KAGGLE_NAMES.index(stem) if stem in _KAGGLE_NAMES else len(_KAGGLE_NAMES)


def _stem(name: str) -> str:
    """Return a file's name in lower case, without folders and suffixes."""
    return PurePosixPath(name).name.lower().partition(".")[0]


def read_rows(
    raw: RawFolder, name: str, on_error: str, split: str | None = None
) -> tuple[dict[str, Rows], list[Dropped]]:
    """Read the rows of a CSV, by split; all are of `split` if it is not None.

    Returns:
        The good rows in the order of the file, and the bad ones; with `on_error` "fail" there are
        none.

    Raises:
        FerError: If the file is no such CSV, or a row is bad and `on_error` is "fail".
    """
    path = raw.path / name
    columns = _Columns(path, raw.heads[name], split)
    splits: dict[str, Rows] = {}
    dropped = []
    size = raw.file(name).stat().st_size
    lines = enumerate(raw.lines(name), start=1)
    next(lines)  # the header
    with tqdm(total=size, desc=f"reading {name}", unit="B", unit_scale=True, disable=None) as bar:
        while batch := list(islice(lines, _BATCH)):
            bar.update(sum(len(line) for _, line in batch))
            for number, row in _parse_each(columns, batch):
                if isinstance(row, BadRowError):
                    if on_error == "fail":
                        raise FerError(
                            f"{path}: line {number}: {row}; mend it, or skip bad rows with "
                            "prepare.on_error"
                        )
                    dropped.append(Dropped(f"{name}:{number}", "bad row", str(row)))
                    continue
                row_split, label, pixels = row
                rows = splits.setdefault(row_split, Rows(name))
                rows.pixels += pixels
                rows.labels.append(label)
                rows.lines.append(number)
    if not splits:
        raise FerError(f"{path}: has no rows of faces; add some")
    return splits, dropped


Row = tuple[str, str, bytes]
"""Split, label and 2304 pixels."""


def _parse_each(
    columns: "_Columns", batch: Sequence[tuple[int, str]]
) -> Iterator[tuple[int, Row | BadRowError]]:
    """Yield the number of each line that is not blank, and its row or why it is bad."""
    batch = [(number, line) for number, line in batch if not line.isspace()]
    try:
        rows = columns.parse([line for _, line in batch])
        yield from zip([number for number, _ in batch], rows, strict=True)
    except BadRowError as reason:
        if len(batch) == 1:
            yield batch[0][0], reason
        else:
            for numbered_line in batch:
                yield from _parse_each(columns, [numbered_line])


class _Columns:
    """The columns of a CSV, by its first bytes."""

    def __init__(self, path: Path, head: bytes, split: str | None) -> None:
        names, self.separator = read_header(head)
        label = first_column(names, _LABEL_COLUMNS)
        if label is None:
            raise FerError(
                f"{path}: line 1: has no column emotion, label or class, only {names}; add it, or "
                "use Kaggle's icml_face_data.csv, which has the labels of all faces"
            )
        self.names, self.label, self.pixels = names, label, names.index("pixels")
        self.usage = first_column(names, SPLIT_COLUMNS) if split is None else None
        self.split = split or UNSPLIT

    def parse(self, lines: Sequence[str]) -> list[Row]:
        """Return a row per line; raise BadRowError if one of them is no face."""
        rows = [self._fields(line) for line in lines]
        pixels = _parse_pixels([text.encode() for _, _, text in rows])
        return [
            (split, label, own.tobytes())
            for (split, label, _), own in zip(rows, pixels, strict=True)
        ]

    def _fields(self, line: str) -> tuple[str, str, str]:
        """Return split, label and the text of the pixels."""
        fields = line.split(self.separator)
        if '"' in line:  # csv.reader takes a hundred times as long
            try:
                reader = csv.reader([line], delimiter=self.separator, skipinitialspace=True)
                fields = next(reader)
            except csv.Error as error:
                raise BadRowError(f"is not CSV ({error})") from error
        if len(fields) != len(self.names):
            raise BadRowError(f"has {len(fields)} columns, not {len(self.names)}")
        split = self.split
        if self.usage is not None:
            usage = fields[self.usage].strip()
            if usage.lower() not in SPLIT_NAMES:
                raise BadRowError(f"Usage is {usage[:20]!r}, not one of {', '.join(USAGES)}")
            split = SPLIT_NAMES[usage.lower()]
        label = fields[self.label].strip()
        if not label:
            raise BadRowError("has no label")
        return split, label, fields[self.pixels].strip()


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


def _classes(raw: RawFolder, tables: Sequence[Rows]) -> tuple[tuple[str, ...], dict[str, int]]:
    """Return the names of the classes, and the index of each label."""
    labels = {label for rows in tables for label in rows.labels}
    if labels == set("0123456") and not names_file(raw):
        print(f"labels 0 to 6 are FER2013's: {', '.join(CLASSES)} ({FILE} names others)")
        return CLASSES, {str(number): number for number in range(len(CLASSES))}
    names = class_names(raw, labels)
    classes = tuple(dict.fromkeys(names.values()))
    check_classes(classes, str(raw.path))
    return classes, {label: classes.index(name) for label, name in names.items()}
