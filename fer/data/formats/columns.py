"""The columns of tables of files, CSVs of pixels, votes and corrections."""

import csv
import re
from collections.abc import Iterator

from fer.core.errors import FerError
from fer.data.raw import RawFolder, is_picture

SPLIT_COLUMNS = ("usage", "split", "set", "subset", "partition")
"""Names of a column with splits, in lower case."""

LABEL_COLUMNS = ("emotion", "label", "class", "expression")
"""Names of a column with labels, in lower case."""

_LIST_LINE = re.compile(r"(\S+?)([ \t,;])\s*\S+\s*")


def first_line(head: bytes) -> str:
    """Return the first line of a text file, by its first bytes, without its end."""
    encoding = "utf-16" if head.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    return head.decode(encoding, errors="replace").partition("\n")[0].rstrip("\r")


def read_header(head: bytes) -> tuple[list[str], str, bool]:
    """Return the names of a table's columns in lower case, their separator, and if it is a list.

    A list has no header, but a picture and its label in each line: the columns path and label.
    """
    line = first_line(head)
    match = _LIST_LINE.fullmatch(line)
    if match and is_picture(match[1]):
        return ["path", "label"], match[2], True
    separator = max(",;\t", key=line.count)
    return [name.strip(' "').lower() for name in line.split(separator)], separator, False


def first_column(names: list[str], choices: tuple[str, ...]) -> str | None:
    """Return the first of some names that a table has; None if it has none of them."""
    return next((name for name in choices if name in names), None)


def read_label(text: str) -> str:
    """Return a label without blanks, and whole numbers without decimals: "3" for "3.0"."""
    text = text.strip()
    whole, _, decimals = text.partition(".")
    return whole if whole.isdigit() and not decimals.strip("0") else text


def read_rows(raw: RawFolder, table: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the location of each line for errors, and its values by the names of the columns."""
    names, separator, is_list = read_header(raw.heads[table])
    lines = map(str.strip, raw.lines(table)) if is_list else raw.lines(table)
    rows = csv.DictReader(lines, names, delimiter=separator, skipinitialspace=True, strict=True)
    try:
        if not is_list:
            next(rows)  # the header
        for row in rows:
            location = f"{raw.path}/{table}: line {rows.line_num}"
            if None in row or None in row.values():
                raise FerError(f"{location}: does not have {len(names)} columns; correct the line")
            yield location, {name: value.strip() for name, value in row.items()}
    except csv.Error as error:
        raise FerError(f"{raw.path}/{table}: is not a CSV ({error}); save it as CSV") from error
