"""Write files atomically and with checksums, so that nobody reads half a file."""

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
from typing import TYPE_CHECKING, Any

from fer import deprecated
from fer.errors import FerError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_PREFIX = ".writing-"

_CHECKSUM_MARK = b'\x72\x4c\x0a\x06sha256\x12\x42"'
"""Bytes before a checksum. In an ONNX file they start an entry of the metadata, which may come
last."""

if not TYPE_CHECKING:  # so that mypy still knows which names there are
    __getattr__ = deprecated.renamed(
        __name__,
        {
            "seal": "append_checksum",
            "read_sealed": "read_verified",
            "scratch": "temporary_folder",
        },
    )


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path, which replaces `path` if the block succeeds.

    Args:
        path: The file to write.

    Raises:
        FerError: If the file cannot be written, or the block raises an OSError.
    """
    path = Path(path)
    with _as_fer_error(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with _temporary_folder(path.parent) as folder:
            temporary = folder / path.name
            yield temporary
            os.replace(temporary, path)


@contextmanager
def temporary_folder(parent: Path) -> Iterator[Path]:
    """Yield a folder that is removed after the block.

    Folders of killed processes are removed by the next process that writes to `parent`.

    Args:
        parent: Where to make the folder.

    Raises:
        FerError: If nothing can be written there, or the block raises an OSError.
    """
    with _as_fer_error(parent), _temporary_folder(parent) as folder:
        yield folder


@contextmanager
def _as_fer_error(path: Path) -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:  # from standard output, if the block prints
        raise
    except OSError as error:
        raise FerError(f"{path}: cannot be written: {error.strerror or error}") from error


@contextmanager
def _temporary_folder(parent: Path) -> Iterator[Path]:
    _remove_stale(parent)
    with tempfile.TemporaryDirectory(dir=parent, prefix=_PREFIX) as name, ExitStack() as stack:
        folder = Path(name)
        with suppress(OSError):  # without locks, no process removes folders of others
            stack.enter_context(_locked(folder))
        folder.mkdir(exist_ok=True)  # another process may have removed it before the lock
        yield folder


@cache  # once per process, because many files may be written to one folder
def _remove_stale(parent: Path) -> None:
    for folder in parent.glob(_PREFIX + "*"):
        with suppress(OSError), _locked(folder):  # the lock fails while its process lives
            shutil.rmtree(folder)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold a lock on a folder for the block; the system releases it if the process dies."""
    if fcntl is None:
        raise OSError("this system has no file locks")
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)


def append_checksum(content: bytes) -> bytes:
    """Return the content of a model file followed by its SHA-256, which other readers ignore.

    Args:
        content: The content without a checksum.
    """
    return content + _CHECKSUM_MARK + hashlib.sha256(content).hexdigest().encode() + b'"'


def read_verified(path: Path) -> bytes:
    """Read a model file and verify its checksum; a file without a checksum is accepted.

    Args:
        path: The file.

    Returns:
        The content, with the checksum.

    Raises:
        FerError: If the file cannot be read, or the checksum is wrong.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise FerError(f"{path}: cannot be read: {error.strerror}") from error
    without_checksum, mark, _ = content.rpartition(_CHECKSUM_MARK)
    if mark and append_checksum(without_checksum) != content:
        raise FerError(f"{path}: is damaged; delete it and run `dvc repro`, or install fer again")
    return content


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    """Write indented JSON with a newline at the end.

    Args:
        path: The file to write.
        data: The object.

    Raises:
        FerError: If the file cannot be written.
    """
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows as a CSV with a header.

    Args:
        path: The file to write.
        rows: At least one row; all have the keys of the first.

    Raises:
        FerError: If the file cannot be written.
    """
    columns = list(rows[0])
    write_table(path, columns, ([row[column] for column in columns] for row in rows))


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Iterable[Any]]) -> None:
    """Write a CSV with a header and any number of rows.

    Args:
        path: The file to write.
        columns: The header.
        rows: The values of each row.

    Raises:
        FerError: If the file cannot be written.
    """
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)
