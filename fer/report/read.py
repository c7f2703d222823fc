"""Read the JSON and CSV files that the stages wrote."""

import json
from pathlib import Path
from typing import Any

import pandas as pd

from fer.core.errors import FerError

_STRING_COLUMNS = dict.fromkeys(("class", "actual", "predicted"), str)
"""Columns that hold names of classes."""


def read_json(path: Path) -> dict[str, Any]:
    """Read the object in a JSON file.

    Raises:
        FerError: If the file is missing or damaged.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError("it holds no object")
        return content
    except (OSError, ValueError) as error:
        raise FerError(f"{path}: cannot be read ({error}); run `dvc repro` to make it") from error


def read_table(path: Path) -> pd.DataFrame:
    """Read a CSV file.

    Raises:
        FerError: If the file is missing or damaged.
    """
    try:
        # A class may be called 7, None or NA.
        return pd.read_csv(path, dtype=_STRING_COLUMNS, keep_default_na=False, na_values=[""])
    except (OSError, ValueError) as error:
        raise FerError(f"{path}: cannot be read ({error}); run `dvc repro` to make it") from error
