"""CSVs of pixels: Kaggle's FER2013, and others with a label and 48x48 pixels per row."""

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np
from tqdm import tqdm

from fer.core.errors import FerError
from fer.core.faces import FACE_SIZE, MAX_CLASSES, Faces
from fer.core.params import Prepare
from fer.data.dataset import SPLIT_NAMES, UNSPLIT, DataSet, Dropped, check_classes, warn
from fer.data.fer2013 import CLASSES, USAGES
from fer.data.formats.columns import SPLIT_COLUMNS, first_column, read_header
from fer.data.labels import FILE, class_names, read_names
from fer.data.raw import RawFolder

NAME = "a CSV of pixels"

_PIXELS = FACE_SIZE * FACE_SIZE
_LABEL_COLUMNS = ("emotion", "label", "class")
_NUMBERS = {str(number) for number in range(MAX_CLASSES)}

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
    with tqdm(total=size, desc=f"reading {name}", unit="B", unit_scale=True, disable=None) as bar:
        for number, line in enumerate(raw.lines(name), start=1):
            bar.update(len(line))
            if number == 1 or line.isspace():
                continue
            try:
                row_split, label, pixels = columns.parse(line)
            except BadRowError as reason:
                if on_error == "fail":
                    raise FerError(
                        f"{path}: line {number}: {reason}; mend it, or skip bad rows with "
                        "prepare.on_error"
                    ) from reason
                dropped.append(Dropped(f"{name}:{number}", "bad row", str(reason)))
                continue
            rows = splits.setdefault(row_split, Rows(name))
            rows.pixels += pixels
            rows.labels.append(label)
            rows.lines.append(number)
    if not splits:
        raise FerError(f"{path}: has no rows of faces; add some")
    return splits, dropped


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

    def parse(self, line: str) -> tuple[str, str, bytes]:
        """Return split, label and pixels of a row; raise BadRowError if it is no face."""
        fields = self._fields(line)
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
        return split, label, _parse_pixels(fields[self.pixels].encode())

    def _fields(self, line: str) -> list[str]:
        if '"' not in line:  # csv.reader takes a hundred times as long
            return line.split(self.separator)
        try:
            return next(csv.reader([line], delimiter=self.separator, skipinitialspace=True))
        except csv.Error as error:
            raise BadRowError(f"is not CSV ({error})") from error


def _parse_pixels(text: bytes) -> bytes:
    """Return 2304 bytes for as many integers from 0 to 255; raise BadRowError if they are not."""
    if not text.translate(None, delete=b"0123456789 \t\n\r\v\f"):
        values = np.fromstring(text, np.int64, sep=" ")  # stops at 2**63 - 1
        if len(values) == _PIXELS and values.max() < 256:
            return values.astype(np.uint8).tobytes()
    numbers = text.split()
    for position, number in enumerate(numbers, start=1):
        if not re.fullmatch(rb"0*[0-9]{1,3}", number) or int(number[-3:]) > 255:
            shown = repr(number[:20].decode(errors="backslashreplace"))
            raise BadRowError(f"pixel {position} is {shown}, not an integer 0 to 255")
    raise BadRowError(f"has {len(numbers)} pixels, not {_PIXELS}")


def _classes(raw: RawFolder, tables: Sequence[Rows]) -> tuple[tuple[str, ...], dict[str, int]]:
    """Return the names of the classes, and the index of each label."""
    location = str(raw.path / tables[0].file)
    labels = {label for rows in tables for label in rows.labels}
    if not labels & _NUMBERS:
        names = class_names(raw, labels)
        classes = tuple(dict.fromkeys(names.values()))
        check_classes(classes, location)
        return classes, {label: classes.index(name) for label, name in names.items()}
    _refuse_words(raw, tables)
    numbers = sorted(map(int, labels))
    names = read_names(raw)
    if names is not None:
        if numbers[-1] >= len(names):
            raise FerError(
                f"{location}: label {numbers[-1]} has no name; {FILE} names {len(names)} classes, "
                f"for the labels 0 to {len(names) - 1}"
            )
        check_classes(tuple(names), str(raw.path / FILE))
        return tuple(names), {str(number): number for number in numbers}
    if numbers != list(range(len(numbers))):
        raise FerError(
            f"{location}: has the labels {', '.join(map(str, numbers))}; number the classes from 0 "
            f"without a gap, write their names in place of numbers, or name them in {FILE}"
        )
    indices = {str(number): number for number in numbers}
    if len(numbers) == len(CLASSES):
        print(f"labels 0 to 6 are FER2013's: {', '.join(CLASSES)} ({FILE} names others)")
        return CLASSES, indices
    return tuple(indices), indices


def _refuse_words(raw: RawFolder, tables: Sequence[Rows]) -> None:
    """Refuse labels that are partly numbers; the rarer kind is the wrong one."""
    labels = [
        (label, rows.file, line)
        for rows in tables
        for label, line in zip(rows.labels, rows.lines, strict=True)
    ]
    words = [row for row in labels if row[0] not in _NUMBERS]
    if not words:
        return
    numbers = [row for row in labels if row[0] in _NUMBERS]
    label, file, line = min(words, numbers, key=len)[0]
    raise FerError(
        f"{raw.path / file}: line {line}: emotion is {label[:20]!r}, but labels are words, or "
        f"numbers from 0 to {MAX_CLASSES - 1}, in all rows; mend it"
    )
