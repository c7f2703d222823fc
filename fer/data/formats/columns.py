"""The columns of a CSV, in tables of files and in CSVs of pixels."""

SPLIT_COLUMNS = ("usage", "split", "set", "subset", "partition")
"""Names of a column with splits, in lower case."""


def read_header(head: bytes) -> tuple[list[str], str]:
    """Return the names of a CSV's columns in lower case, and their separator: , ; or tab."""
    encoding = "utf-16" if head.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    line = head.decode(encoding, errors="replace").partition("\n")[0]
    separator = max(",;\t", key=line.count)
    return [name.strip(' "\r').lower() for name in line.split(separator)], separator


def first_column(names: list[str], choices: tuple[str, ...]) -> int | None:
    """Return the index of the first of some names that a CSV has; None if it has none of them."""
    return next((names.index(name) for name in choices if name in names), None)
