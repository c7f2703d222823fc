"""The columns of a CSV, in tables of files and in CSVs of pixels."""

import csv
from collections.abc import Iterator

from fer.core.errors import FerError
from fer.data.raw import RawFolder

SPLIT_COLUMNS = ("usage", "split", "set", "subset", "partition")
"""Names of a column with splits, in lower case."""


LABEL_COLUMNS = ("emotion", "label", "class", "expression")
"""Names of a column with labels, in lower case."""


def first_line(head: bytes) -> str:
    """Return the first line of a text file, by its first bytes, without its end."""
    encoding = "utf-16" if head.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    return head.decode(encoding, errors="replace").partition("\n")[0].rstrip("\r")


def read_header(head: bytes) -> tuple[list[str], str]:
    """Return the names of a CSV's columns in lower case, and their separator: , ; or tab."""
    line = first_line(head)
    separator = max(",;\t", key=line.count)
    return [name.strip(' "').lower() for name in line.split(separator)], separator


def first_column(names: list[str], choices: tuple[str, ...]) -> int | None:
    """Return the index of the first of some names that a CSV has; None if it has none of them."""
    return next((names.index(name) for name in choices if name in names), None)


def read_label(text: str) -> str:
    """Return a label without blanks, and whole numbers without decimals: "3" for "3.0"."""
    text = text.strip()
    whole, _, decimals = text.partition(".")
    return whole if whole.isdigit() and not decimals.strip("0") else text


def read_rows(raw: RawFolder, table: str) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the number of each line, and its values by the names of the columns in lower case."""
    names, separator = read_header(raw.heads[table])
    rows = csv.DictReader(
        raw.lines(table), names, delimiter=separator, skipinitialspace=True, strict=True
    )
    try:
        next(rows)  # the header
        for row in rows:
            if None in row or None in row.values():
                raise FerError(
                    f"{raw.path}/{table}: line {rows.line_num}: does not have {len(names)} "
                    "columns; correct the line"
                )
            yield rows.line_num, {name: value.strip() for name, value in row.items()}
    except csv.Error as error:
        raise FerError(f"{raw.path}/{table}: is not a CSV ({error}); save it as CSV") from error
