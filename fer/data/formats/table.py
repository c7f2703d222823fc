"""Tables of files: a CSV with the columns path, label and, if there are splits, split."""

import csv
from collections.abc import Iterator

from fer.core.errors import FerError
from fer.core.params import Prepare
from fer.data.dataset import DataSet
from fer.data.formats.folders import SPLITS
from fer.data.formats.listing import Picture, read_pictures
from fer.data.labels import class_names
from fer.data.raw import RawFolder

NAME = "a table of files"


def recognizes(raw: RawFolder) -> bool:
    """Tell whether a file has a header with the columns path and label.

    Args:
        raw: The files of the data set.
    """
    return bool(_tables(raw))


def read(raw: RawFolder, prepare: Prepare) -> DataSet:
    """Read the pictures in the table, with paths relative to the table or to the folder.

    Args:
        raw: The files of the data set.
        prepare: How to read pictures.

    Raises:
        FerError: If a line names no picture, or a picture has two labels.
    """
    tables = _tables(raw)
    raw = raw.with_pictures()
    if len(tables) > 1:
        raise FerError(f"{raw.path}: has {' and '.join(tables)}; keep one table of files")
    (table,) = tables
    if _separator(raw.others()[table]) != ",":
        raise FerError(
            f"{raw.path}/{table}: line 1: columns are not separated by commas; save it with commas"
        )
    rows: dict[str, tuple[int, str, str]] = {}
    pictures = set(raw.pictures)
    for line, row in _rows(raw, table):
        file = _find(pictures, table, row["path"])
        location = f"{raw.path}/{table}: line {line}"
        if file is None:
            raise FerError(f"{location}: there is no picture {row['path']!r}; correct the line")
        if file in rows:
            raise FerError(
                f"{location}: lists {row['path']!r} again, as line {rows[file][0]} does; keep one "
                "of them"
            )
        if not row["label"]:
            raise FerError(f"{location}: has no label; write the name of a class")
        rows[file] = line, row["label"], _split(location, row.get("split"))
    if not rows:
        raise FerError(f"{raw.path}/{table}: lists no picture; add lines")
    unsplit = [line for line, _, split in rows.values() if not split]
    if unsplit and len(unsplit) < len(rows):
        raise FerError(
            f"{raw.path}/{table}: line {unsplit[0]}: has no split, but other lines have; write "
            "train, val or test"
        )
    names = class_names(raw, {label for _, label, _ in rows.values()})
    listed = [Picture(file, names[label], split) for file, (_, label, split) in rows.items()]
    return read_pictures(raw, listed, prepare, list(names.values()))


def _tables(raw: RawFolder) -> list[str]:
    return [name for name, head in raw.others().items() if _separator(head)]


def _separator(head: bytes) -> str | None:
    """Return what separates the columns of a table of files; None for another file."""
    encoding = "utf-16" if head.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    line = head.decode(encoding, errors="replace").partition("\n")[0]
    for separator in (",", ";", "\t"):
        if {"path", "label"} <= {name.strip(' "\r').lower() for name in line.split(separator)}:
            return separator
    return None


def _rows(raw: RawFolder, table: str) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the number of each line and its values by column."""
    try:
        text = (line.decode("utf-8-sig") for line in raw.lines(table))
        lines = csv.reader(text, skipinitialspace=True, strict=True)
        names = [name.strip().lower() for name in next(lines)]
        repeated = {name for name in ("path", "label", "split") if names.count(name) > 1}
        if repeated:
            raise FerError(
                f"{raw.path}/{table}: line 1: has two columns {repeated.pop()}; keep one of them"
            )
        for name in ("usage", "partition", "set", "subset"):
            if name in names and "split" not in names:
                raise FerError(
                    f"{raw.path}/{table}: line 1: has a column {name}; call it split, with train, "
                    "val and test"
                )
        for values in lines:
            if not any(value.strip() for value in values):
                continue
            if len(values) != len(names):
                raise FerError(
                    f"{raw.path}/{table}: line {lines.line_num}: has {len(values)} columns, not "
                    f"{len(names)}; correct the line"
                )
            yield lines.line_num, {n: v.strip() for n, v in zip(names, values, strict=True)}
    except UnicodeDecodeError as error:
        raise FerError(f"{raw.path}/{table}: is not text in UTF-8; save it as UTF-8") from error
    except csv.Error as error:
        raise FerError(f"{raw.path}/{table}: is not a CSV ({error}); save it as CSV") from error


def _find(pictures: set[str], table: str, path: str) -> str | None:
    """Return the name of a picture in the data set; None if there is none."""
    path = path.replace("\\", "/").removeprefix("./")
    folder = table.rpartition("/")[0]
    return next((name for name in (f"{folder}/{path}", path) if name in pictures), None)


def _split(location: str, split: str | None) -> str:
    if not split:
        return ""
    if split.lower() not in SPLITS:
        raise FerError(f"{location}: split is {split!r}; write train, val or test")
    return SPLITS[split.lower()]
