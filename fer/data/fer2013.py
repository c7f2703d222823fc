"""Kaggle's CSV of faces, validated and streamed into a face set for each split."""

import contextlib
import gzip
import io
import itertools
import lzma
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
from tqdm import tqdm

from fer.data.raw import choose
from fer.errors import FerError
from fer.faces import CLASSES, FACE_SIZE, Faces

USAGES = {"Training": "train", "PublicTest": "val", "PrivateTest": "test"}
"""Kaggle's name of each split, and ours."""

_COLUMNS = ("emotion", "pixels", "Usage")
_LABELS = {str(label).encode(): label for label in range(len(CLASSES))}
_USAGE_CODES = {usage.encode(): code for code, usage in enumerate(USAGES)}
_PIXELS = FACE_SIZE * FACE_SIZE
_BLOCK = 64
"""Rows decoded at once: half a megabyte of text, which stays in a core's L2 cache."""

_LONGEST = 1 << 16
"""Bytes of a line; the longest row of a face has some 9,250."""

_MOST = 4 << 30
"""Bytes of a file without its packing; FER2013 has 0.3 billion."""

_BROKEN = (
    EOFError,
    RuntimeError,  # of an encrypted zip, or one packed in an unknown way
    ValueError,  # of names that do not decode
    struct.error,
    zlib.error,
    lzma.LZMAError,
    tarfile.TarError,
    zipfile.BadZipFile,
)


def lines(path: Path) -> Iterator[bytes]:
    """The lines of the CSV in `path`: a plain file, or a gzip, zip or tar archive that holds it.

    An archive is read to its end, where the checksum of what is in it stands.

    Raises FerError for a file that cannot be read, and for one that is too large unpacked.
    """
    with contextlib.ExitStack() as stack:
        try:
            file, archive = _open(path, stack)
            number = unpacked = 0
            while line := file.readline(_LONGEST):
                number, unpacked = number + 1, unpacked + len(line)
                if len(line) == _LONGEST:
                    raise FerError(f"{path}: line {number}: has {_LONGEST} bytes or more")
                _limit(path, unpacked)
                yield line
            while rest := archive.read(1 << 20):
                unpacked += len(rest)
                _limit(path, unpacked)
        except OSError as error:
            reason = error.strerror or f"{error}; download it anew"
            raise FerError(f"{path}: cannot be read: {reason}") from error
        except _BROKEN as error:
            reason = str(error).partition("\n")[0].rstrip(":")
            raise FerError(f"{path}: cannot be read: {reason}; download it anew") from error


def _open(path: Path, stack: contextlib.ExitStack) -> tuple[BinaryIO, BinaryIO]:
    """The CSV, and the stream in which it stands."""
    name = path.name.lower()
    if name.endswith((".tar.gz", ".tgz", ".tar")):
        archive = stack.enter_context(tarfile.open(path))  # noqa: SIM115 the stack closes it
        names, unpacked = [], 0
        for member in archive:
            unpacked += member.size
            _limit(path, unpacked)  # before what is large is read, to find the next
            if member.isfile():
                names.append(member.name)
        file = stack.enter_context(archive.extractfile(_member(path, names)))
        return file, archive.fileobj
    if name.endswith(".zip"):
        archive = stack.enter_context(zipfile.ZipFile(path))
        member = archive.getinfo(_member(path, archive.namelist()))
        _limit(path, member.file_size)
        file = stack.enter_context(io.BufferedReader(archive.open(member), 1 << 20))
    elif name.endswith(".gz"):
        file = stack.enter_context(gzip.open(path))  # noqa: SIM115
    else:
        file = stack.enter_context(path.open("rb", buffering=1 << 20))
    return file, file


def _limit(path: Path, unpacked: int) -> None:
    if unpacked > _MOST:
        raise FerError(f"{path}: is more than {_MOST >> 30} GiB unpacked; FER2013 is 0.3")


def _member(path: Path, names: list[str]) -> str:
    """The CSV of faces among the `names` in an archive."""
    return choose(path, [name for name in names if name.lower().endswith(".csv")])


class BadRowError(ValueError):
    """Why a row is not a face."""


def read(path: Path, on_bad_row: str = "fail") -> tuple[dict[str, Faces], int]:
    """Read the faces of each split, and count the bad rows.

    path: CSV with the columns emotion (0 to 6), pixels (2,304 integers 0 to 255, row by row, with
        blanks or tabs between them) and Usage (Training, PublicTest or PrivateTest), in any order;
        plain or in an archive
    on_bad_row: "fail" raises at the first bad row, "skip" counts it and goes on

    Returns the splits "train", "val" and "test", and the number of rows skipped.
    Raises FerError for anything else than such a file, naming the line where there is one.
    """
    path, bad = Path(path), 0

    def on_bad(line: int, reason: BadRowError) -> None:
        nonlocal bad
        if on_bad_row == "fail":
            raise FerError(
                f"{path}: line {line}: {reason}; mend it, or skip bad rows with prepare.on_bad_row"
            )
        bad += 1

    blocks = []
    text = lines(path)
    columns = _columns(path, next(text, b""))
    with _progress(path) as bar:
        numbered = enumerate(text, start=2)
        while rows := list(itertools.islice(numbered, _BLOCK)):
            blocks.append(_block(rows, columns, on_bad))
            bar.update(sum(len(text) for _, text in rows))
    return _splits(path, blocks), bad


def _progress(path: Path) -> tqdm:
    packed = path.suffix.lower() != ".csv"  # the size of what is inside is not known
    total = None if packed else path.stat().st_size
    return tqdm(total=total, desc=f"reading {path.name}", unit="B", unit_scale=True, disable=None)


def _columns(path: Path, header: bytes) -> tuple[int, list[int]]:
    """The number of columns, and where emotion, pixels and Usage stand."""
    if not header:
        raise FerError(f"{path}: is empty")
    text = header.decode("utf-8-sig", errors="replace")
    names = [name.strip(' "\r\n').lower() for name in text.split(",")]
    missing = [c for c in _COLUMNS if c.lower() not in names]
    if missing and (len(text) > 1000 or not text.isascii()):
        raise FerError(f"{path}: is not a CSV with the header {','.join(_COLUMNS)}")
    if missing:
        raise FerError(f"{path}: line 1: no column {' or '.join(missing)} in the header {names}")
    return len(names), [names.index(c.lower()) for c in _COLUMNS]


def _block(
    rows: Sequence[tuple[int, bytes]],
    columns: tuple[int, list[int]],
    on_bad: Callable[[int, BadRowError], None],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The good rows: pixels uint8 [M, 2304], labels uint8 [M], indices into `USAGES` uint8 [M]."""
    good = []
    for line, text in rows:
        try:
            if not text.isspace():
                good.append((line, *_fields(text, columns)))
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
    labels = np.array([label for _, label, _, _ in good], np.uint8)
    return pixels, labels, np.array([usage for *_, usage in good], np.uint8)


def _fields(text: bytes, columns: tuple[int, list[int]]) -> tuple[int, bytes, int]:
    """Label, pixels as text and index into `USAGES` of one line."""
    count, order = columns
    fields = text.split(b",")
    if len(fields) != count:
        raise BadRowError(f"has {len(fields)} columns, not {count}")
    emotion, pixels, usage = (fields[i].strip(b' "\r\n') for i in order)
    if emotion not in _LABELS:
        raise BadRowError(f"emotion is {_show(emotion)}, not 0 to 6")
    if usage not in _USAGE_CODES:
        raise BadRowError(f"Usage is {_show(usage)}, not one of {', '.join(USAGES)}")
    return _LABELS[emotion], pixels, _USAGE_CODES[usage]


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
    return repr(text[:20].decode("ascii", "backslashreplace"))


def _splits(
    path: Path, blocks: list[tuple[np.ndarray, np.ndarray, np.ndarray]]
) -> dict[str, Faces]:
    splits = {}
    for code, (kaggle, ours) in enumerate(USAGES.items()):
        images = np.concatenate(
            [np.empty((0, _PIXELS), np.uint8)] + [p[u == code] for p, _, u in blocks]
        )
        labels = np.concatenate([np.empty(0, np.uint8)] + [n[u == code] for _, n, u in blocks])
        if not labels.size:
            raise FerError(f"{path}: has no rows with Usage {kaggle}; every split needs some")
        splits[ours] = Faces(images.reshape(-1, FACE_SIZE, FACE_SIZE), labels)
    return splits
