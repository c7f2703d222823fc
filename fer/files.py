"""Write files atomically: a reader, or a run that fails, never sees half a file."""

import csv
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from fer.errors import FerError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_PREFIX = ".writing-"

_SEAL = b'\x72\x4c\x0a\x06sha256\x12\x42"'
"""Stands before a checksum: an entry of the metadata with which an ONNX file may end."""


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`, which replaces `path` if the block succeeds.

    >>> with atomic_path(Path("table.csv")) as temporary:
    ...     temporary.write_text(text)

    Raises FerError where the file cannot be written, for an OSError of the block too.
    """
    path = Path(path)
    with _telling(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with _scratch(path.parent) as folder:
            temporary = folder / path.name
            yield temporary
            os.replace(temporary, path)


@contextmanager
def scratch(parent: Path) -> Iterator[Path]:
    """A folder in `parent` for the block.

    What is left of one whose process was killed is removed by the next that writes to `parent`.

    Raises FerError where nothing can be written there, for an OSError of the block too.
    """
    with _telling(parent), _scratch(parent) as folder:
        yield folder


@contextmanager
def _telling(path: Path) -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:  # of standard output, if the block prints
        raise
    except OSError as error:
        raise FerError(f"{path}: cannot be written: {error.strerror or error}") from error


@contextmanager
def _scratch(parent: Path) -> Iterator[Path]:
    _sweep(parent)
    with tempfile.TemporaryDirectory(dir=parent, prefix=_PREFIX) as name, ExitStack() as stack:
        folder = Path(name)
        with suppress(OSError):  # where there are no locks, nothing is swept either
            stack.enter_context(_locked(folder))
        folder.mkdir(exist_ok=True)  # where another process's sweep was faster than the lock
        yield folder


@cache  # once in a process: a folder may hold many files, each written by `atomic_path`
def _sweep(parent: Path) -> None:
    for folder in parent.glob(_PREFIX + "*"):
        with suppress(OSError), _locked(folder):  # OSError: its process is alive
            shutil.rmtree(folder)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold a lock for the block, which ends with the process too; OSError where that cannot be."""
    if fcntl is None:
        raise OSError("there are no locks on this system")
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)


def seal(content: bytes) -> bytes:
    """A model file's content with its checksum behind it, which other readers pass over."""
    return content + _SEAL + hashlib.sha256(content).hexdigest().encode() + b'"'


def read_sealed(path: Path) -> bytes:
    """The content of a model file; one without a checksum is taken as it is.

    Raises FerError where it cannot be read, or its bytes are not those that were written.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise FerError(f"{path}: cannot be read: {error.strerror}") from error
    sealed, mark, _ = content.rpartition(_SEAL)
    if mark and seal(sealed) != content:
        raise FerError(f"{path}: is damaged; delete it and run `dvc repro`, or install fer anew")
    return content


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    """Write `data` as indented JSON with a last newline."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write `rows` (at least one, all with the keys of the first) as a CSV with a header."""
    columns = list(rows[0])
    write_table(path, columns, ([row[column] for column in columns] for row in rows))


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Iterable[Any]]) -> None:
    """Write a CSV with the header `columns` and a line for each of `rows`, if there are any."""
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)
