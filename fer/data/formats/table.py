"""Tables of files: CSVs with columns of paths, labels and splits, or lists of `path label`."""

import csv
import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache

from fer.core.errors import FerError
from fer.core.params import Prepare
from fer.data.dataset import SPLIT_NAMES, UNSPLIT, DataSet, split_in
from fer.data.formats import columns
from fer.data.pictures import read_pictures
from fer.data.raw import RawFolder, is_picture

NAME = "a table of files"

_PATH_COLUMNS = (
    *("path", "pth", "filepath", "file_path", "image_path", "img_path"),
    *("file", "filename", "file_name", "image", "image_name", "img", "img_name"),
)
_COLUMNS = (_PATH_COLUMNS, columns.LABEL_COLUMNS, columns.SPLIT_COLUMNS)

_LIST_LINE = re.compile(r"(\S+?)([ \t,;])\s*\S+\s*")

Row = tuple[str, tuple[str, ...], str, str | None]
"""Location of a row in errors, paths that it may mean, label, and split if there are splits."""


def recognizes(raw: RawFolder) -> bool:
    """Tell whether a file has a header with columns of paths and labels, or is a list."""
    return bool(_tables(raw))


def read(raw: RawFolder, prepare: Prepare) -> DataSet:
    """Read the pictures in the table, or in one table per split."""
    tables = _tables(raw)
    splits = [split_in(table.rpartition("/")[2]) if len(tables) > 1 else None for table in tables]
    if len(tables) > 1 and (None in splits or len(set(splits)) < len(tables)):
        raise FerError(
            f"{raw.path}: has {' and '.join(tables[:2])}; keep one table of files, or one per "
            "split, with names such as train.csv and test.csv"
        )
    pairs = zip(tables, splits, strict=True)
    return read_listed(raw, (row for pair in pairs for row in read_rows(raw, *pair)), prepare)


def read_listed(
    raw: RawFolder, rows: Iterable[Row], prepare: Prepare, names: Mapping[str, str] | None = None
) -> DataSet:
    """Read the pictures in rows; `names` are as for `number_labels`.

    Raises:
        FerError: If a row names no picture, or a wrong label or split.
    """
    raw.add_pictures()
    find = _finder(raw)
    labelled: dict[str, tuple[str, str]] = {}
    for location, paths, label, split in rows:
        files = find(paths)
        if len(files) != 1:
            raise FerError(
                f"{location}: {len(files) or 'none'} of the pictures is {paths[-1]!r}; write its "
                "path relative to the data set's folder"
            )
        if files[0] in labelled:
            raise FerError(f"{location}: lists {paths[-1]!r} again; keep one of the lines")
        if not label or (names and label not in names):
            allowed = (
                f"a label from {min(names)} to {max(names)}" if names else "the name of a class"
            )
            raise FerError(f"{location}: its label is {label!r}; write {allowed}")
        if split is not None and split.lower() not in SPLIT_NAMES:
            raise FerError(f"{location}: split is {split!r}; write train, val or test")
        labelled[files[0]] = SPLIT_NAMES[split.lower()] if split else UNSPLIT, label
    if not labelled:
        raise FerError(f"{raw.path}: its table of files lists no picture; add lines")
    return read_pictures(raw, labelled, prepare, names)


def read_rows(raw: RawFolder, table: str, split: str | None = None) -> Iterator[Row]:
    """Yield the rows of a table or list; `split` is that of rows in a table without splits."""
    names, separator, is_list = _layout(raw.heads[table])
    lines = map(str.strip, raw.lines(table)) if is_list else raw.lines(table)
    rows = csv.reader(lines, delimiter=separator, skipinitialspace=True, strict=True)
    path_column, label_column, split_column = (columns.first_column(names, c) for c in _COLUMNS)
    folder = table.rpartition("/")[0]
    try:
        for row in filter(None, rows):
            location = f"{raw.path}/{table}: line {rows.line_num}"
            if len(row) != len(names):
                raise FerError(f"{location}: does not have {len(names)} columns; correct the line")
            if rows.line_num == 1 and not is_list:
                continue  # the header
            path = row[path_column].strip().replace("\\", "/").removeprefix("./")
            own_split = split if split_column is None else row[split_column].strip()
            label = columns.read_label(row[label_column])
            yield location, (os.path.join(folder, path), path), label, own_split
    except csv.Error as error:
        raise FerError(f"{raw.path}/{table}: is not a CSV ({error}); save it as CSV") from error


def _tables(raw: RawFolder) -> list[str]:
    return sorted(name for name, head in raw.heads.items() if _layout(head)[0])


def _layout(head: bytes) -> tuple[list[str], str, bool]:
    """Return a table's columns (none if the file is no table), separator, and if it is a list."""
    match = _LIST_LINE.fullmatch(columns.first_line(head))
    if match and is_picture(match[1]):
        return ["path", "label"], match[2], True
    names, separator = columns.read_header(head)
    required = [columns.first_column(names, choices) is not None for choices in _COLUMNS[:2]]
    return names if all(required) and "pixels" not in names else [], separator, False


def _finder(raw: RawFolder) -> Callable[[tuple[str, ...]], list[str]]:
    """Return a function that returns the pictures that the paths of a row may mean.

    A path may be relative to the data set's folder, or absolute. The name of a file is enough.
    """
    real = cache(os.path.realpath)  # of folders, which a path may name by way of another link
    pictures, others = set(raw.pictures), defaultdict(list)
    for name in pictures:
        folder, file = os.path.split(raw.file(name))
        others[file].append(name)
        others[f"{real(folder)}/{file}"].append(name)

    def find(paths: tuple[str, ...]) -> list[str]:
        exact = [path for path in paths if path in pictures]
        folder, file = os.path.split(paths[-1])
        return exact[:1] or others[f"{real(folder)}/{file}" if os.path.isabs(folder) else paths[-1]]

    return find
