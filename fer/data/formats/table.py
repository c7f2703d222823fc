"""Tables of files: a CSV with the columns path, label and, if there are splits, split."""

from fer.core.errors import FerError
from fer.core.params import Prepare
from fer.data.dataset import SPLIT_NAMES, UNSPLIT, DataSet
from fer.data.formats.columns import SPLIT_COLUMNS, read_header, read_rows
from fer.data.pictures import read_pictures
from fer.data.raw import RawFolder

NAME = "a table of files"


def recognizes(raw: RawFolder) -> bool:
    """Tell whether a file has a header with the columns path and label."""
    return bool(_tables(raw))


def read(raw: RawFolder, prepare: Prepare) -> DataSet:
    """Read the pictures in the table, with paths relative to the table or to the folder."""
    (table, *others) = _tables(raw)
    if others:
        raise FerError(f"{raw.path}: has {table} and {others[0]}; keep one table of files")
    raw.add_pictures()
    pictures = set(raw.pictures)
    labelled: dict[str, tuple[str, str]] = {}
    for line, row in read_rows(raw, table):
        file = _find(pictures, table, row["path"])
        location = f"{raw.path}/{table}: line {line}"
        split = next((row[name] for name in SPLIT_COLUMNS if name in row), None)
        if file is None:
            raise FerError(f"{location}: there is no picture {row['path']!r}; correct the line")
        if file in labelled:
            raise FerError(f"{location}: lists {row['path']!r} again; keep one of the lines")
        if not row["label"]:
            raise FerError(f"{location}: has no label; write the name of a class")
        if split is not None and split.lower() not in SPLIT_NAMES:
            raise FerError(f"{location}: split is {split!r}; write train, val or test")
        labelled[file] = SPLIT_NAMES[split.lower()] if split else UNSPLIT, row["label"]
    if not labelled:
        raise FerError(f"{raw.path}/{table}: lists no picture; add lines")
    return read_pictures(raw, labelled, prepare)


def _tables(raw: RawFolder) -> list[str]:
    return [n for n, head in raw.heads.items() if {"path", "label"} <= set(read_header(head)[0])]


def _find(pictures: set[str], table: str, path: str) -> str | None:
    """Return the name of a picture in the data set; None if there is none."""
    path = path.replace("\\", "/").removeprefix("./")
    folder = table.rpartition("/")[0]
    return next((name for name in (f"{folder}/{path}", path) if name in pictures), None)
