"""Write files atomically, so that nobody reads half a file; read tables.

All functions raise a FerError if the file cannot be written or read, or is missing.
"""

import csv
import json
import os
import secrets
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from fer.core.errors import FerError, temporary_folders

_PREFIX = ".writing-"

_STALE_SECONDS = 3600.0
"""Age from which a temporary file belongs to a killed process."""


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path with the same suffix, which replaces `path` if the block succeeds."""
    path = Path(path)
    temporary = path.with_name(f"{_PREFIX}{secrets.token_hex(4)}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_stale(path.parent)
        try:
            yield temporary
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except BrokenPipeError:  # from standard output, if the block prints
        raise
    except OSError as error:
        raise FerError(f"{path}: cannot be written: {error.strerror or error}") from error


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Yield a folder in TMPDIR, which is removed after the block, and also by Ctrl-C or SIGTERM."""
    with tempfile.TemporaryDirectory(prefix="fer-", ignore_cleanup_errors=True) as name:
        temporary_folders.add(Path(name))
        try:
            yield Path(name)
        finally:
            temporary_folders.discard(Path(name))


def _remove_stale(folder: Path) -> None:
    for file in folder.glob(_PREFIX + 8 * "[0-9a-f]" + "*"):
        with suppress(OSError):  # another process may remove it too
            if time.time() - file.stat().st_mtime > _STALE_SECONDS:
                file.unlink()


def check_package_file(path: Path) -> None:
    """Check that a file of this package is there; a program or archive may hold its code only."""
    if not path.is_file():
        raise FerError(
            f"{path}: this file of the package fer-pipeline is missing; install the whole package "
            "unpacked (PyInstaller: --collect-data fer)"
        )


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    """Write indented JSON with a newline at the end."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write at least one row as a CSV with a header; all rows have the keys of the first."""
    columns = list(rows[0])
    write_table(path, columns, ([row[column] for column in columns] for row in rows))


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Iterable[Any]]) -> None:
    """Write a CSV with a header and any number of rows."""
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)


def read_rows(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV that a stage wrote, by the names of its columns."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))
    except (OSError, ValueError) as error:
        raise FerError(f"{path}: cannot be read ({error}); run `dvc repro` to make it") from error
