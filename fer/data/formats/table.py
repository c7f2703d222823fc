"""Tables of files: a CSV with the columns path, label and, if there are splits, split."""

import csv
from collections.abc import Iterator

from fer.core.errors import FerError
from fer.core.params import Prepare
from fer.data.dataset import SPLIT_NAMES, DataSet
from fer.data.formats.columns import SPLIT_COLUMNS, first_column, read_header
from fer.data.labels import class_names
from fer.data.pictures import read_pictures
from fer.data.raw import RawFolder

NAME = "a table of files"


def recognizes(raw: RawFolder) -> bool:
    """Tell whether a file has a header with the columns path and label."""
    return bool(_tables(raw))


def read(raw: RawFolder, prepare: Prepare) -> DataSet:
    """Read the pictures in the table, with paths relative to the table or to the folder.

    Raises:
        FerError: If a line names no picture, or a picture has two labels.
    """
    tables = _tables(raw)
    raw.add_pictures()
    if len(tables) > 1:
        raise FerError(f"{raw.path}: has {' and '.join(tables)}; keep one table of files")
    (table,) = tables
    labelled: dict[str, tuple[str, str]] = {}
    pictures = set(raw.pictures)
    for line, path, label, split in _rows(raw, table):
        file = _find(pictures, table, path)
        location = f"{raw.path}/{table}: line {line}"
        if file is None:
            raise FerError(f"{location}: there is no picture {path!r}; correct the line")
        if file in labelled:
            raise FerError(f"{location}: lists {path!r} again; keep one of the lines")
        if not label:
            raise FerError(f"{location}: has no label; write the name of a class")
        if split is not None and split.lower() not in SPLIT_NAMES:
            raise FerError(f"{location}: split is {split!r}; write train, val or test")
        labelled[file] = SPLIT_NAMES[split.lower()] if split else "", label
    if not labelled:
        raise FerError(f"{raw.path}/{table}: lists no picture; add lines")
    names = class_names(raw, {label for _, label in labelled.values()})
    labelled = {file: (split, names[label]) for file, (split, label) in labelled.items()}
    return read_pictures(raw, labelled, prepare, list(names.values()))


def _tables(raw: RawFolder) -> list[str]:
    return [n for n, head in raw.heads.items() if {"path", "label"} <= set(read_header(head)[0])]


def _rows(raw: RawFolder, table: str) -> Iterator[tuple[int, str, str, str | None]]:
    """Yield the number of each line, and its path, label and split."""
    names, separator = read_header(raw.heads[table])
    split = first_column(names, SPLIT_COLUMNS)
    lines = csv.reader(raw.lines(table), delimiter=separator, skipinitialspace=True, strict=True)
    try:
        next(lines)
        for line in lines:
            values = [value.strip() for value in line]
            if not any(values):
                continue
            if len(values) != len(names):
                raise FerError(
                    f"{raw.path}/{table}: line {lines.line_num}: has {len(values)} columns, not "
                    f"{len(names)}; correct the line"
                )
            path, label = (values[names.index(name)] for name in ("path", "label"))
            yield lines.line_num, path, label, None if split is None else values[split]
    except csv.Error as error:
        raise FerError(f"{raw.path}/{table}: is not a CSV ({error}); save it as CSV") from error


def _find(pictures: set[str], table: str, path: str) -> str | None:
    """Return the name of a picture in the data set; None if there is none."""
    path = path.replace("\\", "/").removeprefix("./")
    folder = table.rpartition("/")[0]
    return next((name for name in (f"{folder}/{path}", path) if name in pictures), None)
