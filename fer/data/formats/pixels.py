"""CSVs of pixels: Kaggle's FER2013, and any other with a label and 48x48 pixels in each row."""

import itertools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

import numpy as np
from tqdm import tqdm

from fer.data.dataset import UNSPLIT, DataSet, Dropped, check_classes, warn
from fer.data.labels import FILE, read_names
from fer.data.raw import RawFolder
from fer.errors import FerError
from fer.faces import FACE_SIZE, MOST_CLASSES, Faces
from fer.params import Prepare

NAME = "a CSV of pixels"

CLASSES = ("Angry", "Disgust", "Fear", "Happy", "Sad", "Surprise", "Neutral")
"""FER2013's classes, in the order of its labels 0 to 6."""

USAGES = {"Training": "train", "PublicTest": "val", "PrivateTest": "test"}
"""Kaggle's name of each split, and ours."""

COLUMNS = ("emotion", "pixels", "Usage")

_SPLITS = (*USAGES.values(), UNSPLIT)
_USAGE_CODES = {usage.encode(): code for code, usage in enumerate(USAGES)}
_LABEL_COLUMNS = ("emotion", "label", "class")
_PIXELS = FACE_SIZE * FACE_SIZE
_BLOCK = 64
"""Rows decoded at once: half a megabyte of text, which stays in a core's L2 cache."""

_LONGEST_LABEL = 100
"""Bytes of a label."""

_KAGGLE_NAMES = ("fer2013", "icml_face_data")
"""Names of Kaggle's files without their suffixes, the preferred one first."""

_UTF16 = (b"\xff\xfe", b"\xfe\xff")


class BadRowError(ValueError):
    """Why a row is not a face. `may_skip`: whether leaving such rows out loses no label."""

    def __init__(self, reason: str, may_skip: bool = True) -> None:
        super().__init__(reason)
        self.may_skip = may_skip


def recognizes(raw: RawFolder) -> bool:
    """Whether a file has a column of pixels, or rows of them without a header."""
    return bool(find(raw))


def read(raw: RawFolder, prepare: Prepare) -> DataSet:
    """Read the CSV that the folder holds, or the pair train.csv and test.csv.

    Columns: emotion (or label, or class), pixels (2,304 integers 0 to 255, row by row, with blanks
    or tabs between them) and, where there are splits, Usage (Training, PublicTest or PrivateTest),
    in any order. Labels are the numbers 0 to n-1 or words.

    Raises:
        FerError: For anything else than such a file, naming the line where there is one.
    """
    names = find(raw)
    files = {_stem(name): name for name in sorted(names, reverse=True)}  # train before test
    pair = len(names) == 2 and files.keys() == {"train", "test"}
    if len(names) > 1 and not pair:
        raise FerError(f"{raw.path}: needs one file of faces inside, found {names}")
    others = [name for name, head in raw.others().items() if _has_pixels(head)]
    others = [name for name in others if name not in names]
    if others:
        warn(f"other files of faces, which are not read: {', '.join(others)}")
    labels, tables = Labels(), {}
    for stem, name in files.items():
        print(f"reading {raw.path / name}", flush=True)
        tables[stem] = read_table(raw, name, prepare.on_bad_row, labels, pair)
    present = {int(n) for blocks, _ in tables.values() for _, own, *_ in blocks for n in set(own)}
    classes, numbers = labels.classes(raw, names[0], present)
    return _data_set(tables, files, classes, numbers)


def find(raw: RawFolder) -> list[str]:
    """Files with a column of pixels: of several, those with Kaggle's name; none twice, packed."""
    found = [name for name, head in raw.others().items() if _has_pixels(head)]
    first = min(map(_rank, found), default=None)
    best = [name for name in found if _rank(name) == first]
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
    """Whether a line has a hundred numbers with blanks between them."""
    return re.search(rb"(\d{1,3} ){100}", line) is not None


def _rank(name: str) -> int:
    stem = _stem(name)
    return _KAGGLE_NAMES.index(stem) if stem in _KAGGLE_NAMES else len(_KAGGLE_NAMES)


def _stem(name: str) -> str:
    """A file's name in lower case, without folders and suffixes."""
    return PurePosixPath(name).name.lower().partition(".")[0]


@dataclass
class Labels:
    """The labels of the rows so far: numbers, or words, as most of the first rows have.

    Attributes:
        codes: The number of each label: itself, or the place in the order of appearance.
        first: Where each label was seen first, a line of a file.
        numeric: Whether they are numbers; None before the first.
    """

    codes: dict[bytes, int] = field(default_factory=dict)
    first: dict[bytes, str] = field(default_factory=dict)
    numeric: bool | None = None

    def code(self, label: bytes, column: str, place: str) -> int:
        """The number of a label that was not seen before."""
        if not label or len(label) > _LONGEST_LABEL:
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
        if code >= MOST_CLASSES:
            raise BadRowError(
                f"{column} is {_show(label)}, but at most {MOST_CLASSES} classes are read, "
                "numbered from 0",
                may_skip=False,
            )
        self.codes[label] = code
        self.first[label] = place
        return code

    def classes(
        self, raw: RawFolder, file: str, present: set[int]
    ) -> tuple[tuple[str, ...], np.ndarray]:
        """Names of the classes whose codes are `present`, and uint8 [256] from codes to indices.

        Raises:
            FerError: Where the labels do not tell the classes.
        """
        place = str(raw.path / file)
        numbers = np.arange(MOST_CLASSES, dtype=np.uint8)
        if not self.numeric:
            words = {label.decode(): n for label, n in self.codes.items() if n in present}
            check_classes(tuple(sorted(words)), place)
            for number, word in enumerate(sorted(words)):
                numbers[words[word]] = number
            return tuple(sorted(words)), numbers
        given = read_names(raw)
        codes = sorted(present)
        if given is not None:
            if codes[-1] >= len(given):
                raise FerError(
                    f"{self.first[b'%d' % codes[-1]]}: label {codes[-1]} has no name, as {FILE} "
                    f"names {len(given)} classes, for the labels 0 to {len(given) - 1}"
                )
            check_classes(tuple(given), str(raw.path / FILE))
            return tuple(given), numbers
        self._check_numbers(codes, place)
        if codes == list(range(len(CLASSES))):
            print(f"labels 0 to 6 are FER2013's: {', '.join(CLASSES)} ({FILE} names others)")
            return CLASSES, numbers
        classes = tuple(map(str, codes))
        check_classes(classes, place)
        return classes, numbers

    def _check_numbers(self, codes: list[int], place: str) -> None:
        if codes[0] == 1 and codes == list(range(1, len(codes) + 1)):
            raise FerError(
                f"{place}: labels are 1 to {codes[-1]}; number the classes from 0, or write their "
                "names in place of numbers"
            )
        gap = next((n for n, code in enumerate(codes) if n != code), None)
        if gap is not None:
            seen = self.first[b"%d" % codes[gap]]
            raise FerError(
                f"{place}: no row has label {gap}, but {seen} has label {codes[gap]}; number the "
                f"classes from 0 without a gap, or name all of them in {FILE}"
            )


Block = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""Rows of a CSV: pixels uint8 [M, 2304], numbers of the labels uint8 [M], indices into `_SPLITS`
uint8 [M], numbers of the lines int64 [M]."""


def read_table(
    raw: RawFolder, name: str, on_bad_row: str, labels: Labels, is_split: bool = False
) -> tuple[list[Block], list[Dropped]]:
    """Read the rows of a CSV.

    Args:
        raw: The files of the data set.
        name: The CSV's name in it.
        on_bad_row: "fail" raises at the first bad row, "skip" leaves such rows out.
        labels: Gets the labels of the rows.
        is_split: Whether the file is a split as a whole, so that Usage is not read.

    Returns:
        The good rows in the order of the file, and the bad ones.

    Raises:
        FerError: Where the file is no such CSV, and for a bad row that may not be left out.
    """
    path, dropped = raw.path / name, []

    def on_bad(line: int, reason: BadRowError) -> None:
        if on_bad_row == "fail" or not reason.may_skip:
            hint = ", or skip bad rows with prepare.on_bad_row" if reason.may_skip else ""
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
        raise FerError(f"{path}: has no rows of faces")
    return blocks, dropped


def _data_set(
    tables: dict[str, tuple[list[Block], list[Dropped]]],
    files: dict[str, str],
    classes: tuple[str, ...],
    numbers: np.ndarray,
) -> DataSet:
    """The faces of the tables by split; a pair of tables are the splits train and test."""
    splits, sources, dropped = {}, {}, []
    for stem, (blocks, bad) in tables.items():
        dropped += bad
        for code, split in enumerate(_SPLITS):
            chosen = [(b, b[2] == code) for b in blocks]
            labels = numbers[np.concatenate([codes[own] for (_, codes, _, _), own in chosen])]
            if not labels.size:
                continue
            split = stem if len(tables) > 1 else split
            images = np.concatenate([pixels[own] for (pixels, *_), own in chosen])
            splits[split] = Faces(images.reshape(-1, FACE_SIZE, FACE_SIZE), labels, classes)
            lines = np.concatenate([own_lines[own] for (*_, own_lines), own in chosen])
            sources[split] = [f"{files[stem]}:{line}" for line in lines.tolist()]
    return DataSet(splits, sources, dropped)


@dataclass(frozen=True)
class _Columns:
    """Where the columns of a CSV stand.

    Attributes:
        path: Of the file, for errors.
        count: Number of columns.
        label: Place of the label's column.
        label_name: Name of that column.
        pixels: Place of the pixels.
        usage: Place of Usage; None where there are no splits.
    """

    path: str
    count: int
    label: int
    label_name: str
    pixels: int
    usage: int | None

    @classmethod
    def of(cls, path: str, header: bytes, is_split: bool) -> "_Columns":
        """The columns that a header names.

        Raises:
            FerError: Where it is no header, or a column is missing.
        """
        if not header:
            raise FerError(f"{path}: is empty")
        if header.startswith(_UTF16):
            raise FerError(f"{path}: is in UTF-16; save it as UTF-8")
        if _is_row(header):
            raise FerError(
                f"{path}: line 1: is a row of pixels; add a first line with the names of the "
                f"columns, such as {','.join(COLUMNS)}"
            )
        text = header.decode("utf-8-sig", errors="replace")
        names = _names(text, ",")
        for mark, shown in ((";", "semicolons"), ("\t", "tabs")):
            if "pixels" in _names(text, mark) and "pixels" not in names:
                raise FerError(
                    f"{path}: line 1: columns are separated by {shown}; separate them by commas"
                )
        if "pixels" not in names:
            raise FerError(f"{path}: line 1: no column pixels in {names}")
        label = next((name for name in _LABEL_COLUMNS if name in names), None)
        if label is None and _stem(path) == "test":
            raise FerError(
                f"{path}: has no column of labels; take Kaggle's icml_face_data.csv, which has "
                "the labels of all faces, in place of train.csv and test.csv"
            )
        if label is None:
            raise FerError(f"{path}: line 1: no column emotion, label or class in {names}")
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


def _names(header: str, mark: str) -> list[str]:
    return [name.strip(' "\r\n').lower() for name in header.split(mark)]


def _block(
    rows: Sequence[tuple[int, bytes]],
    columns: _Columns,
    labels: Labels,
    on_bad: Callable[[int, BadRowError], None],
) -> Block:
    """The good ones of some rows."""
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
    if pixels is None:  # some row is bad, or written in an unusual way: one at a time
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
    """Whether half of the labels of some rows or more are numbers."""
    fields = [text.split(b",") for _, text in rows]
    whole = [own for own in fields if len(own) == columns.count]
    numbers = [own[columns.label].strip(b' "\r\n').isdigit() for own in whole]
    return 2 * sum(numbers) >= len(numbers)


def _fields(line: int, text: bytes, columns: _Columns, labels: Labels) -> tuple[int, bytes, int]:
    """Number of the label, pixels as text, and index into `_SPLITS` of one line."""
    fields = text.split(b",")
    if len(fields) != columns.count:
        quoted = b'"' in text  # maybe a comma inside quotes, in every such row
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
                f"{path}: line {line}: Usage is {_show(usage)}; Kaggle's is {name}; write it so in "
                "all rows"
            )


def _decode(rows: list[bytes]) -> np.ndarray | None:
    """Pixels uint8 [M, 2304] of M rows of text, all at once; None unless every row is in order.

    Each byte of the text gets the number that would end there, from itself and the two bytes
    before it; those behind which a space stands are the pixels. No pass branches or gathers.
    """
    text = np.frombuffer(b"    " + b" ".join(rows) + b" ", np.uint8)
    space = text == ord(" ")
    digit = (text - ord("0")) * ~space
    ends = space[4:]
    ones, tens = digit[3:-1], digit[2:-2]
    hundreds = digit[1:-3] * ~(space[2:-2] | space[3:-1])
    least = hundreds * np.uint8(100)
    values = ones + tens * np.uint8(10) + least
    pixels = values.compress(ends)  # three times as fast as values[ends]
    lengths = (len(row) + 1 for row in rows)
    bounds = itertools.pairwise(itertools.accumulate(lengths, initial=0))
    in_order = (
        digit.max() < 10
        and pixels.size == len(rows) * _PIXELS
        and hundreds.max() < 3
        and not (values < least).any()  # 256 to 299 have wrapped round
        and not (space[3:-1] & ends).any()  # an empty number
        and not (~(space[:-4] | space[1:-3] | space[2:-2] | space[3:-1])).any()  # four digits
        and all(np.count_nonzero(ends[a:b]) == _PIXELS for a, b in bounds)
    )
    return pixels.reshape(-1, _PIXELS) if in_order else None


def _decode_row(text: bytes) -> np.ndarray:
    """Pixels uint8 [2304] of one row; raises BadRowError with the reason."""
    numbers = text.split()
    for place, number in enumerate(numbers, start=1):
        if not (number.isdigit() and int(number.lstrip(b"0")[:4] or b"0") < 256):
            raise BadRowError(f"pixel {place} is {_show(number)}, not an integer 0 to 255")
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
