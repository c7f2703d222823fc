"""Read the JSON and CSV files that the stages wrote.

Both functions raise a FerError if the file is missing or damaged.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from fer.core.errors import FerError

_TEXTS = ("class", "actual", "predicted", "suggested", "picture", "train_picture")
"""Columns of words, even if they look like numbers."""


def read_json(path: Path) -> dict[str, Any]:
    """Read the object in a JSON file."""
    return _read(path, lambda: dict(json.loads(path.read_text(encoding="utf-8"))))


def read_table(path: Path) -> pd.DataFrame:
    """Read a CSV file. A class may be called 7, None or NA."""
    names = dict.fromkeys(_TEXTS, str)
    options = {"dtype": names, "keep_default_na": False, "na_values": [""]}
    return _read(path, lambda: pd.read_csv(path, **options))


def _read(path: Path, read: Callable[[], Any]) -> Any:
    try:
        return read()
    except (OSError, ValueError, TypeError) as error:
        raise FerError(f"{path}: cannot be read ({error}); run `dvc repro` to make it") from error
