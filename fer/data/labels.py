"""Turn the labels of a data set, words or numbers, into names of classes."""

import unicodedata
from collections.abc import Iterable

from fer.core.errors import FerError
from fer.data.raw import RawFolder

_MAX_LENGTH = 100
"""Largest number of characters in the name of a class."""

FILE = "classes.txt"
"""A file in the data set's folder with the names of numbered classes, one per line."""


def class_names(raw: RawFolder, labels: Iterable[str]) -> dict[str, str]:
    """Return the class name of each label, in the order of the classes.

    Words name themselves and are sorted alphabetically. Numbers are sorted numerically; the file
    classes.txt may name them, starting with the lowest.

    Raises:
        FerError: If classes.txt does not have one name per number, or a name is too long.
    """
    labels = set(labels)
    if long := next((label for label in labels if len(label) > _MAX_LENGTH), None):
        raise FerError(
            f"{raw.path}: the class {long[:20]!r}... has {len(long)} characters; shorten it to "
            f"{_MAX_LENGTH}"
        )
    if not all(label.isascii() and label.isdigit() for label in labels):
        return {label: unicodedata.normalize("NFC", label) for label in sorted(labels)}
    ordered = sorted(labels, key=lambda label: (int(label), label))
    names = read_names(raw)
    if names is None:
        return {label: label for label in ordered}
    if len(names) != len(ordered):
        raise FerError(
            f"{raw.path}/{FILE}: names {len(names)} classes, but the data set has {len(ordered)}: "
            f"{', '.join(ordered[:20])}; write one line for each"
        )
    return dict(zip(ordered, names, strict=True))


def read_names(raw: RawFolder) -> list[str] | None:
    """Read the names in classes.txt; return None without such a file.

    Raises:
        FerError: If it cannot be read, or a name is missing or repeated.
    """
    files = [name for name in raw.names if name.rpartition("/")[2].lower() == FILE]
    if not files:
        return None
    if len(files) > 1:
        raise FerError(f"{raw.path}: has {' and '.join(files)}; leave one of them")
    (file,) = files
    names = "".join(raw.lines(file)).rstrip().splitlines()
    names = [unicodedata.normalize("NFC", name.strip()) for name in names]
    for number, name in enumerate(names, start=1):
        if not name or name in names[: number - 1]:
            problem = f"names {name!r} again" if name else "is empty"
            raise FerError(f"{raw.path}/{file}: line {number}: {problem}; name one class per line")
    return names
