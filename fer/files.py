"""Write files atomically: a reader, or a run that fails, never sees half a file."""

import csv
import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fer.errors import FerError


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`, which replaces `path` if the block succeeds.

    >>> with atomic_path(Path("model.pt")) as temporary:
    ...     torch.save(content, temporary)

    Raises FerError where the file cannot be written, for an OSError of the block too.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".writing-") as folder:
            # The same file name, because torch.save writes the name into the archive.
            temporary = Path(folder) / path.name
            yield temporary
            os.replace(temporary, path)
    except BrokenPipeError:  # of standard output, if the block prints
        raise
    except OSError as error:
        raise FerError(f"{path}: cannot be written: {error.strerror or error}") from error


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    """Write `data` as indented JSON with a last newline."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write `rows` (at least one, all with the keys of the first) as a CSV with a header."""
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
