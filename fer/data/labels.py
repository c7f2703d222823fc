"""Turn the labels of a data set, words or numbers, into names of classes."""

import unicodedata
from collections.abc import Iterable
from pathlib import PurePosixPath

from fer.core.errors import FerError
from fer.data.raw import RawFolder

FILE = "classes.txt"
"""A file in the data set's folder with the names of numbered classes, one per line."""


def class_names(raw: RawFolder, labels: Iterable[str]) -> dict[str, str]:
    """Return the class name of each label, in the order of the classes.

    Words name themselves and are sorted alphabetically. Numbers are sorted numerically; the file
    classes.txt may name them, starting with the lowest.

    Raises:
        FerError: If classes.txt does not have one name per number.
    """
    labels = set(labels)
    if not all(label.isascii() and label.isdigit() for label in labels):
        return {label: unicodedata.normalize("NFC", label) for label in sorted(labels)}
    ordered = sorted(labels, key=lambda label: (int(label), label))
    file = names_file(raw)
    if file is None:
        return {label: label for label in ordered}
    names = "".join(raw.lines(file)).rstrip().splitlines()
    names = [unicodedata.normalize("NFC", name.strip()) for name in names]
    if "" in names or len(set(names)) != len(ordered) or len(names) != len(ordered):
        raise FerError(
            f"{raw.path}/{file}: does not have one line with a name of its own for each of the "
            f"{len(ordered)} classes {', '.join(ordered[:20])}; correct it"
        )
    return dict(zip(ordered, names, strict=True))


def names_file(raw: RawFolder) -> str | None:
    """Return the name of the file classes.txt in a data set; None without one."""
    return next((name for name in raw.names if PurePosixPath(name).name.lower() == FILE), None)
