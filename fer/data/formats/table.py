"""A table of files: a CSV with the columns path and label, and split where there are splits."""

import csv
from collections.abc import Iterator

from fer.data.dataset import DataSet
from fer.data.formats.folders import SPLITS
from fer.data.formats.listing import Picture, read_pictures
from fer.data.labels import class_names
from fer.data.raw import RawFolder
from fer.errors import FerError
from fer.params import Prepare

NAME = "a table of files"


def recognizes(raw: RawFolder) -> bool:
    """Whether a file has a header with the columns path and label."""
    return bool(_tables(raw))


def read(raw: RawFolder, prepare: Prepare) -> DataSet:
    """Read the pictures that the table lists, by paths relative to it or to the folder.

    Raises:
        FerError: Where a line names no picture, or a picture has two labels.
    """
    tables = _tables(raw)
    if len(tables) > 1:
        raise FerError(f"{raw.path}: has {' and '.join(tables)}; leave one table of files")
    (table,) = tables
    if _mark(raw.others()[table]) != ",":
        raise FerError(
            f"{raw.path}/{table}: line 1: columns are not separated by commas; separate them so"
        )
    rows: dict[str, tuple[int, str, str]] = {}
    known = set(raw.pictures)
    for line, row in _rows(raw, table):
        file = _find(known, table, row["path"])
        place = f"{raw.path}/{table}: line {line}"
        if file is None:
            raise FerError(f"{place}: there is no picture {row['path']!r}; mend the line")
        if file in rows:
            raise FerError(f"{place}: lists {row['path']!r} again, as line {rows[file][0]} does")
        if not row["label"]:
            raise FerError(f"{place}: has no label; write the name of a class")
        rows[file] = line, row["label"], _split(place, row.get("split"))
    if not rows:
        raise FerError(f"{raw.path}/{table}: lists no picture")
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
    return [name for name, head in raw.others().items() if _mark(head)]


def _mark(head: bytes) -> str | None:
    """What separates the columns of a table of files; None where a file is none."""
    encoding = "utf-16" if head.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    line = head.decode(encoding, errors="replace").partition("\n")[0]
    for mark in (",", ";", "\t"):
        if {"path", "label"} <= {name.strip(' "\r').lower() for name in line.split(mark)}:
            return mark
    return None


def _rows(raw: RawFolder, table: str) -> Iterator[tuple[int, dict[str, str]]]:
    """The lines of the table, with their numbers, as columns by their names."""
    try:
        text = (line.decode("utf-8-sig") for line in raw.lines(table))
        lines = csv.reader(text, skipinitialspace=True, strict=True)
        names = [name.strip().lower() for name in next(lines)]
        twice = {name for name in ("path", "label", "split") if names.count(name) > 1}
        if twice:
            raise FerError(
                f"{raw.path}/{table}: line 1: has two columns {twice.pop()}; leave one of them"
            )
        for name in {"usage", "partition", "set", "subset"} - (
            {"usage"} if "split" in names else set()
        ):
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
                    f"{len(names)}"
                )
            yield lines.line_num, {n: v.strip() for n, v in zip(names, values, strict=True)}
    except UnicodeDecodeError as error:
        raise FerError(f"{raw.path}/{table}: is not text in UTF-8; save it so") from error
    except csv.Error as error:
        raise FerError(f"{raw.path}/{table}: is not a CSV: {error}") from error


def _find(known: set[str], table: str, path: str) -> str | None:
    """The picture's name in the folder of the data set; None where there is none."""
    path = path.replace("\\", "/").removeprefix("./")
    folder = table.rpartition("/")[0]
    return next((name for name in (f"{folder}/{path}", path) if name in known), None)


def _split(place: str, split: str | None) -> str:
    if not split:
        return ""
    if split.lower() not in SPLITS:
        raise FerError(f"{place}: split is {split!r}, not train, val or test")
    return SPLITS[split.lower()]
