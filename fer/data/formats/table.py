"""Tables of files: CSVs with columns of paths, labels and splits, or lists of `path label`."""

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache

from fer.core.errors import FerError
from fer.core.params import Prepare
from fer.data.dataset import SPLIT_NAMES, UNSPLIT, DataSet, split_in
from fer.data.formats import columns
from fer.data.pictures import read_pictures
from fer.data.raw import RawFolder

NAME = "a table of files"

_PATH_COLUMNS = (
    *("path", "pth", "filepath", "file_path", "image_path", "img_path"),
    *("file", "filename", "file_name", "image", "image_name", "img", "img_name"),
)
_COLUMNS = (_PATH_COLUMNS, columns.LABEL_COLUMNS, columns.SPLIT_COLUMNS)

Row = tuple[str, tuple[str, ...], str, str | None]
"""Location of a row in errors, paths that it may mean, label, and split if there are splits."""


def find(raw: RawFolder) -> list[str]:
    """Return the files with a header with columns of paths and labels, and the lists."""
    headers = {name: columns.read_header(head)[0] for name, head in sorted(raw.heads.items())}
    return [
        name
        for name, own in headers.items()
        if all(columns.first_column(own, choices) for choices in _COLUMNS[:2])
        and "pixels" not in own
    ]


def read(raw: RawFolder, prepare: Prepare) -> DataSet:
    """Read the pictures in the table, or in one table per split."""
    tables = find(raw)
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
    """Read the pictures in rows; `names` are as for `number_labels`."""
    raw.add_pictures()
    find_pictures = _finder(raw)
    labelled: dict[str, tuple[str, str]] = {}
    for location, paths, label, split in rows:
        files = find_pictures(paths)
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
    folder = table.rpartition("/")[0]
    for location, row in columns.read_rows(raw, table):
        path, label, own_split = (row.get(columns.first_column(row, c)) for c in _COLUMNS)
        path = path.replace("\\", "/").removeprefix("./")
        paths = os.path.join(folder, path), path
        yield location, paths, columns.read_label(label), split if own_split is None else own_split


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

    def find_pictures(paths: tuple[str, ...]) -> list[str]:
        exact = [path for path in paths if path in pictures]
        folder, file = os.path.split(paths[-1])
        return exact[:1] or others[f"{real(folder)}/{file}" if os.path.isabs(folder) else paths[-1]]

    return find_pictures
