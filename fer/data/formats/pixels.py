"""CSVs of pixels: Kaggle's FER2013, and others with a label and 48x48 pixels per row."""

import itertools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

import numpy as np
from tqdm import tqdm

from fer.core.errors import FerError
from fer.core.faces import FACE_SIZE, MAX_CLASSES, Faces
from fer.core.params import Prepare
from fer.data.dataset import UNSPLIT, DataSet, Dropped, check_classes, warn
from fer.data.fer2013 import CLASSES, USAGES
from fer.data.labels import FILE, read_names
from fer.data.raw import RawFolder

NAME = "a CSV of pixels"

COLUMNS = ("emotion", "pixels", "Usage")

_SPLITS = (*USAGES.values(), UNSPLIT)
_USAGE_CODES = {usage.encode(): code for code, usage in enumerate(USAGES)}
_LABEL_COLUMNS = ("emotion", "label", "class")
_PIXELS = FACE_SIZE * FACE_SIZE
_BLOCK = 64
"""Rows that are decoded together: half a megabyte of text, which fits the L2 cache of a core."""

_MAX_LABEL_BYTES = 100
"""Largest size of a label."""

_KAGGLE_NAMES = ("fer2013", "icml_face_data")
"""Names of Kaggle's files without suffix; the first is preferred."""

_UTF16 = (b"\xff\xfe", b"\xfe\xff")


class BadRowError(ValueError):
    """A row that is no face.

    Args:
        reason: Why it is none.
        may_skip: Whether such rows may be left out without losing labels.
    """

    def __init__(self, reason: str, may_skip: bool = True) -> None:
        super().__init__(reason)
        self.may_skip = may_skip


def recognizes(raw: RawFolder) -> bool:
    """Tell whether a file has a column of pixels, or rows of pixels without a header.

    Args:
        raw: The files of the data set.
    """
    return bool(find(raw))


def read(raw: RawFolder, prepare: Prepare) -> DataSet:
    """Read the CSV in the folder, or the pair train.csv and test.csv.

    The columns are, in any order: emotion (or label, or class), pixels (2,304 integers from 0 to
    255, row by row, separated by blanks or tabs) and, if there are splits, Usage (Training,
    PublicTest or PrivateTest). Labels are words, or the numbers 0 to n-1.

    Args:
        raw: The files of the data set.
        prepare: What to do with bad rows.

    Raises:
        FerError: If the file is no such CSV; the message names the line where there is one.
    """
    names = find(raw)
    files = {_stem(name): name for name in sorted(names, reverse=True)}  # train before test
    is_pair = len(names) == 2 and files.keys() == {"train", "test"}
    if len(names) > 1 and not is_pair:
        raise FerError(f"{raw.path}: holds {' and '.join(names)}; keep one file of faces")
    others = [name for name, head in raw.others().items() if _has_pixels(head)]
    others = [name for name in others if name not in names]
    if others:
        warn(f"other files of faces that are not read: {', '.join(others)}")
    labels, tables = Labels(), {}
    for stem, name in files.items():
        print(f"reading {raw.path / name}", flush=True)
        tables[stem] = read_table(raw, name, prepare.on_error, labels, is_pair)
    present = {
        int(code) for blocks, _ in tables.values() for _, codes, *_ in blocks for code in set(codes)
    }
    classes, numbers = labels.classes(raw, names[0], present)
    return _data_set(tables, files, classes, numbers)


def find(raw: RawFolder) -> list[str]:
    """Return the names of the files with a column of pixels.

    Files with Kaggle's names are preferred to others, and unpacked files to packed copies.

    Args:
        raw: The files of the data set.
    """
    files = [name for name, head in raw.others().items() if _has_pixels(head)]
    first = min(map(_rank, files), default=None)
    best = [name for name in files if _rank(name) == first]
    plain = {_stem(name) for name in best if not raw.is_packed(name)}
    return [name for name in best if not raw.is_packed(name) or _stem(name) not in plain]


def _has_pixels(head: bytes) -> bool:
    if head.startswith(_UTF16):
        head = head.decode("utf-16", errors="ignore").encode()
    line = head.partition(b"\n")[0].lower()
    names = [
        part.strip(b' "\r') for part in re.split(rb"[,;\t]", line.removeprefix(b"\xef\xbb\xbf"))
    ]
    return b"pixels" in names or _is_row(line)


def _is_row(line: bytes) -> bool:
    """Tell whether a line has a hundred numbers separated by blanks."""
    return re.search(rb"(\d{1,3} ){100}", line) is not None


def _rank(name: str) -> int:
    stem = _stem(name)
    return _KAGGLE_NAMES.index(stem) if stem in _KAGGLE_NAMES else len(_KAGGLE_NAMES)


def _stem(name: str) -> str:
    """Return a file's name in lower case, without folders and suffixes."""
    return PurePosixPath(name).name.lower().partition(".")[0]


@dataclass
class Labels:
    """The labels of the rows so far: numbers or words, as in most of the first rows.

    Attributes:
        codes: Code of each label: the number itself, or the rank of a word by first appearance.
        first: File and line in which each label appeared first.
        numeric: Whether labels are numbers; None before the first row.
    """

    codes: dict[bytes, int] = field(default_factory=dict)
    first: dict[bytes, str] = field(default_factory=dict)
    numeric: bool | None = None

    def code(self, label: bytes, column: str, location: str) -> int:
        """Return the code of a new label.

        Args:
            label: The label.
            column: Name of its column.
            location: File and line.

        Raises:
            BadRowError: If it is no label, or of another kind than the others.
        """
        if not label or len(label) > _MAX_LABEL_BYTES:
            raise BadRowError(f"{column} is {_show(label)}, not a class")
        if self.numeric and not (label.isdigit() and str(int(label[:9])).encode() == label):
            raise BadRowError(
                f"{column} is {_show(label)}, not a number from 0 on as in the other rows",
                may_skip=False,
            )
        if not self.numeric and (label.isdigit() or not _is_utf8(label)):
            raise BadRowError(
                f"{column} is {_show(label)}, not a word as in the other rows", may_skip=False
            )
        code = int(label) if self.numeric else len(self.codes)
        if code >= MAX_CLASSES:
            raise BadRowError(
                f"{column} is {_show(label)}, but at most {MAX_CLASSES} classes are read, "
                "numbered from 0",
                may_skip=False,
            )
        self.codes[label] = code
        self.first[label] = location
        return code

    def classes(
        self, raw: RawFolder, file: str, present: set[int]
    ) -> tuple[tuple[str, ...], np.ndarray]:
        """Return the names of the classes, and their indices by code, uint8 [256].

        Args:
            raw: The files of the data set.
            file: Name of the CSV, for errors.
            present: Codes that occur in the rows.

        Raises:
            FerError: If classes do not follow from the labels.
        """
        location = str(raw.path / file)
        indices = np.arange(MAX_CLASSES, dtype=np.uint8)
        if not self.numeric:
            words = {label.decode(): n for label, n in self.codes.items() if n in present}
            check_classes(tuple(sorted(words)), location)
            for index, word in enumerate(sorted(words)):
                indices[words[word]] = index
            return tuple(sorted(words)), indices
        names = read_names(raw)
        codes = sorted(present)
        if names is not None:
            if codes[-1] >= len(names):
                raise FerError(
                    f"{self.first[b'%d' % codes[-1]]}: label {codes[-1]} has no name; {FILE} names "
                    f"{len(names)} classes, for the labels 0 to {len(names) - 1}"
                )
            check_classes(tuple(names), str(raw.path / FILE))
            return tuple(names), indices
        self._check_numbers(codes, location)
        if codes == list(range(len(CLASSES))):
            print(f"labels 0 to 6 are FER2013's: {', '.join(CLASSES)} ({FILE} names others)")
            return CLASSES, indices
        classes = tuple(map(str, codes))
        check_classes(classes, location)
        return classes, indices

    def _check_numbers(self, codes: list[int], location: str) -> None:
        if codes == [0]:
            raise FerError(
                f"{location}: has one class only, 0; add a second one, or name all of them in "
                f"{FILE}"
            )
        if codes[0] == 1 and codes == list(range(1, len(codes) + 1)):
            raise FerError(
                f"{location}: labels are 1 to {codes[-1]}; number the classes from 0, or write "
                "their names in place of numbers"
            )
        gap = next((n for n, code in enumerate(codes) if n != code), None)
        if gap is not None:
            first = self.first[b"%d" % codes[gap]]
            raise FerError(
                f"{location}: no row has label {gap}, but {first} has label {codes[gap]}; number "
                f"the classes from 0 without a gap, or name all of them in {FILE}"
            )


Block = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""Rows of a CSV: pixels uint8 [M, 2304], codes of the labels uint8 [M], indices into `_SPLITS`
uint8 [M], numbers of the lines int64 [M]."""


def read_table(
    raw: RawFolder, name: str, on_error: str, labels: Labels, is_split: bool = False
) -> tuple[list[Block], list[Dropped]]:
    """Read the rows of a CSV.

    Args:
        raw: The files of the data set.
        name: Name of the CSV.
        on_error: "fail" raises at the first bad row, "skip" leaves such rows out.
        labels: Collects the labels of the rows.
        is_split: Whether the whole file is one split, so that Usage is not read.

    Returns:
        The good rows in the order of the file, and the bad ones.

    Raises:
        FerError: If the file is no such CSV, or a bad row may not be left out.
    """
    path, dropped = raw.path / name, []

    def on_bad(line: int, reason: BadRowError) -> None:
        if on_error == "fail" or not reason.may_skip:
            hint = ", or skip bad rows with prepare.on_error" if reason.may_skip else ""
            raise FerError(f"{path}: line {line}: {reason}; mend it{hint}")
        dropped.append(Dropped(f"{name}:{line}", "bad row", str(reason)))

    text = raw.lines(name)
    columns = _Columns.of(str(path), next(text, b""), is_split)
    blocks = []
    with tqdm(
        total=raw.size(name), desc=f"reading {name}", unit="B", unit_scale=True, disable=None
    ) as bar:
        numbered = enumerate(text, start=2)
        while rows := list(itertools.islice(numbered, _BLOCK)):
            blocks.append(_block(rows, columns, labels, on_bad))
            bar.update(sum(len(line) for _, line in rows))
    if not sum(len(codes) for _, codes, _, _ in blocks):
        raise FerError(f"{path}: has no rows of faces; add some")
    return blocks, dropped


def _data_set(
    tables: dict[str, tuple[list[Block], list[Dropped]]],
    files: dict[str, str],
    classes: tuple[str, ...],
    numbers: np.ndarray,
) -> DataSet:
    """Return the faces by split; a pair of tables are the splits train and test."""
    splits, sources, dropped = {}, {}, []
    for stem, (blocks, bad_rows) in tables.items():
        dropped += bad_rows
        for code, split in enumerate(_SPLITS):
            masked = [(block, block[2] == code) for block in blocks]
            labels = numbers[np.concatenate([codes[mask] for (_, codes, _, _), mask in masked])]
            if not labels.size:
                continue
            split = stem if len(tables) > 1 else split
            images = np.concatenate([pixels[mask] for (pixels, *_), mask in masked])
            splits[split] = Faces(images.reshape(-1, FACE_SIZE, FACE_SIZE), labels, classes)
            lines = np.concatenate([block_lines[mask] for (*_, block_lines), mask in masked])
            sources[split] = [f"{files[stem]}:{line}" for line in lines.tolist()]
    return DataSet(splits, sources, dropped)


@dataclass(frozen=True)
class _Columns:
    """The columns of a CSV.

    Attributes:
        path: Path of the file, for errors.
        count: Number of columns.
        label: Index of the label's column.
        label_name: Name of the label's column.
        pixels: Index of the column of pixels.
        usage: Index of Usage; None without splits.
    """

    path: str
    count: int
    label: int
    label_name: str
    pixels: int
    usage: int | None

    @classmethod
    def of(cls, path: str, header: bytes, is_split: bool) -> "_Columns":
        """Return the columns of a header; raise FerError if a column is missing."""
        if not header:
            raise FerError(f"{path}: is empty; download it again")
        if header.startswith(_UTF16):
            raise FerError(f"{path}: is in UTF-16; save it as UTF-8")
        if _is_row(header):
            raise FerError(
                f"{path}: line 1: is a row of pixels; add a first line with the names of the "
                f"columns, such as {','.join(COLUMNS)}"
            )
        text = header.decode("utf-8-sig", errors="replace")
        names = _names(text, ",")
        for separator, shown in ((";", "semicolons"), ("\t", "tabs")):
            if "pixels" in _names(text, separator) and "pixels" not in names:
                raise FerError(
                    f"{path}: line 1: columns are separated by {shown}; separate them by commas"
                )
        if "pixels" not in names:
            raise FerError(f"{path}: line 1: has no column pixels, only {names}; add it")
        label = next((name for name in _LABEL_COLUMNS if name in names), None)
        if label is None and _stem(path) == "test":
            raise FerError(
                f"{path}: has no column of labels; use Kaggle's icml_face_data.csv, which has "
                "the labels of all faces, in place of train.csv and test.csv"
            )
        if label is None:
            raise FerError(
                f"{path}: line 1: has no column emotion, label or class, only {names}; add one"
            )
        other = next(
            (name for name in ("split", "set", "subset", "partition") if name in names), None
        )
        if other and "usage" not in names and not is_split:
            raise FerError(
                f"{path}: line 1: has a column {other}; call it Usage, with {', '.join(USAGES)} "
                "for train, val and test"
            )
        usage = None if is_split or "usage" not in names else names.index("usage")
        return cls(path, len(names), names.index(label), label, names.index("pixels"), usage)


def _names(header: str, separator: str) -> list[str]:
    return [name.strip(' "\r\n').lower() for name in header.split(separator)]


def _block(
    rows: Sequence[tuple[int, bytes]],
    columns: _Columns,
    labels: Labels,
    on_bad: Callable[[int, BadRowError], None],
) -> Block:
    """Return the good rows; call `on_bad` for the others."""
    if labels.numeric is None:
        labels.numeric = _has_numbers(rows, columns)
    good = []
    for line, text in rows:
        try:
            if not text.isspace():
                good.append((line, *_fields(line, text, columns, labels)))
        except BadRowError as reason:
            on_bad(line, reason)
    pixels = _decode([text for _, _, text, _ in good])
    if pixels is None:  # a row is bad or written in an unusual way, so decode one at a time
        decoded = []
        for row in good:
            try:
                decoded.append((row, _decode_row(row[2])))
            except BadRowError as reason:
                on_bad(row[0], reason)
        good = [row for row, _ in decoded]
        pixels = np.array([p for _, p in decoded], np.uint8).reshape(-1, _PIXELS)
    codes = np.array([code for _, code, _, _ in good], np.uint8)
    usages = np.array([usage for *_, usage in good], np.uint8)
    return pixels, codes, usages, np.array([line for line, *_ in good], np.int64)


def _has_numbers(rows: Sequence[tuple[int, bytes]], columns: _Columns) -> bool:
    """Tell whether at least half of the labels are numbers."""
    rows_of_fields = [text.split(b",") for _, text in rows]
    complete = [fields for fields in rows_of_fields if len(fields) == columns.count]
    numbers = [fields[columns.label].strip(b' "\r\n').isdigit() for fields in complete]
    return 2 * sum(numbers) >= len(numbers)


def _fields(line: int, text: bytes, columns: _Columns, labels: Labels) -> tuple[int, bytes, int]:
    """Return the code of the label, the pixels as text, and the index into `_SPLITS` of a line."""
    fields = text.split(b",")
    if len(fields) != columns.count:
        quoted = b'"' in text  # perhaps a comma inside quotes, which every row may have
        raise BadRowError(f"has {len(fields)} columns, not {columns.count}", may_skip=not quoted)
    usage = len(USAGES)
    if columns.usage is not None:
        name = fields[columns.usage].strip(b' "\r\n')
        if name not in _USAGE_CODES:
            _refuse_other_case(columns.path, line, name)
            raise BadRowError(f"Usage is {_show(name)}, not one of {', '.join(USAGES)}")
        usage = _USAGE_CODES[name]
    label = fields[columns.label].strip(b' "\r\n')
    code = labels.codes.get(label)
    if code is None:
        code = labels.code(label, columns.label_name, f"{columns.path}: line {line}")
    return code, fields[columns.pixels].strip(b' "\r\n'), usage


def _refuse_other_case(path: str, line: int, usage: bytes) -> None:
    for name in USAGES:
        if name.lower().encode() == usage.lower():
            raise FerError(
                f"{path}: line {line}: Usage is {_show(usage)}; write it as Kaggle "
                f"does, {name}, in every such row"
            )


def _decode(rows: list[bytes]) -> np.ndarray | None:
    """Decode M rows of text at once to uint8 [M, 2304]; return None unless every row is valid.

    Each byte of the text gets the number that would end there, computed from the byte and the two
    before it. The numbers before a space are the pixels. No pass branches or gathers.
    """
    text = np.frombuffer(b"    " + b" ".join(rows) + b" ", np.uint8)
    space = text == ord(" ")
    digit = (text - ord("0")) * ~space
    ends = space[4:]
    ones, tens = digit[3:-1], digit[2:-2]
    hundreds = digit[1:-3] * ~(space[2:-2] | space[3:-1])
    minimum = hundreds * np.uint8(100)
    values = ones + tens * np.uint8(10) + minimum
    pixels = values.compress(ends)  # three times as fast as values[ends]
    lengths = (len(row) + 1 for row in rows)
    bounds = itertools.pairwise(itertools.accumulate(lengths, initial=0))
    is_valid = (
        digit.max() < 10
        and pixels.size == len(rows) * _PIXELS
        and hundreds.max() < 3
        and not (values < minimum).any()  # 256 to 299 have wrapped around
        and not (space[3:-1] & ends).any()  # an empty number
        and not (~(space[:-4] | space[1:-3] | space[2:-2] | space[3:-1])).any()  # four digits
        and all(np.count_nonzero(ends[a:b]) == _PIXELS for a, b in bounds)
    )
    return pixels.reshape(-1, _PIXELS) if is_valid else None


def _decode_row(text: bytes) -> np.ndarray:
    """Decode one row to uint8 [2304]; raise BadRowError with the reason if it is invalid."""
    numbers = text.split()
    for position, number in enumerate(numbers, start=1):
        if not (number.isdigit() and int(number.lstrip(b"0")[:4] or b"0") < 256):
            raise BadRowError(f"pixel {position} is {_show(number)}, not an integer 0 to 255")
    if len(numbers) != _PIXELS:
        raise BadRowError(f"has {len(numbers)} pixels, not {_PIXELS}")
    return np.array([int(number) for number in numbers], np.uint8)


def _show(text: bytes) -> str:
    return repr(text[:20].decode("utf-8", "backslashreplace"))


def _is_utf8(text: bytes) -> bool:
    try:
        return text.decode().isprintable()
    except UnicodeDecodeError:
        return False
