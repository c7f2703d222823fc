"""From labels as a data set has them, words or numbers, to names of classes."""

import unicodedata
from collections.abc import Iterable
from itertools import pairwise

from fer.data.raw import RawFolder
from fer.errors import FerError

LONGEST = 100
"""Characters of a class's name."""

FILE = "classes.txt"
"""A file in the data set's folder that names numbered classes, a line each."""


def class_names(raw: RawFolder, labels: Iterable[str]) -> dict[str, str]:
    """Name of the class of each label, in the order of the classes.

    Words are their own names, in alphabetical order. Numbers are in numerical order; classes.txt
    names them where there is one, its first line the lowest number.

    Raises:
        FerError: Where classes.txt does not have a name for each number.
    """
    labels = set(labels)
    if long := next((label for label in labels if len(label) > LONGEST), None):
        raise FerError(
            f"{raw.path}: the class {long[:20]!r}... has {len(long)} characters, and at most "
            f"{LONGEST} are read"
        )
    if not all(label.isascii() and label.isdigit() for label in labels):
        return {label: unicodedata.normalize("NFC", label) for label in sorted(labels)}
    ordered = sorted(labels, key=lambda label: (int(label), label))
    for one, other in pairwise(ordered):
        if int(one) == int(other):
            raise FerError(f"{raw.path}: the classes {one} and {other} are one number; join them")
    given = read_names(raw)
    if given is None:
        return {label: label for label in ordered}
    if len(given) != len(ordered):
        raise FerError(
            f"{raw.path}/{FILE}: names {len(given)} classes, but there are {len(ordered)}: "
            f"{', '.join(ordered[:20])}"
        )
    return dict(zip(ordered, given, strict=True))


def read_names(raw: RawFolder) -> list[str] | None:
    """The names in classes.txt; None where there is no such file.

    Raises:
        FerError: Where it cannot be read, or a name is missing or stands there twice.
    """
    files = [name for name in raw.names if name.rpartition("/")[2].lower() == FILE]
    if not files:
        return None
    if len(files) > 1:
        raise FerError(f"{raw.path}: has {' and '.join(files)}; leave one of them")
    (file,) = files
    try:
        names = [line.decode("utf-8-sig").strip() for line in raw.lines(file)]
    except UnicodeDecodeError as error:
        raise FerError(f"{raw.path}/{file}: is not text in UTF-8; save it so") from error
    while names and not names[-1]:
        names.pop()
    for number, name in enumerate(names, start=1):
        if not name or name in names[: number - 1]:
            what = f"names {name!r} again" if name else "is empty"
            raise FerError(f"{raw.path}/{file}: line {number}: {what}; each line names one class")
    return [unicodedata.normalize("NFC", name) for name in names]
