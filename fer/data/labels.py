"""Turn the labels of a data set, words or numbers, into names of classes."""

import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

import numpy as np

from fer.core.errors import FerError
from fer.data.dataset import check_classes
from fer.data.raw import RawFolder

FILE = "classes.txt"
"""A file in the data set's folder with the names of numbered classes, one per line."""


def number_labels(
    raw: RawFolder, labels: Sequence[str], names: Mapping[str, str] | None = None
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return N labels as indices, uint8 [N], into the names of the classes, and these names.

    `names` are the class names of the labels in the order of the classes. Without them, words name
    themselves and are sorted alphabetically. Numbers are sorted numerically; the file classes.txt
    may name them, from the lowest on, or from 0 on if it has more lines.
    """
    names = names or _class_names(raw, set(labels))
    classes = tuple(dict.fromkeys(names.values()))
    check_classes(classes, str(raw.path))
    indices = {label: classes.index(name) for label, name in names.items()}
    return np.array([indices[label] for label in labels], np.uint8), classes


def _class_names(raw: RawFolder, labels: set[str]) -> dict[str, str]:
    words = sorted(label for label in labels if not (label.isascii() and label.isdigit()))
    if len(words) == len(labels):
        return {label: unicodedata.normalize("NFC", label) for label in words}
    if words:
        raise FerError(f"{raw.path}: the label {words[0]!r} is no number as others are; correct it")
    ordered = sorted(labels, key=lambda label: (int(label), label))
    numbers = [int(label) for label in ordered]
    if len(set(numbers)) < len(numbers):
        raise FerError(f"{raw.path}: two labels are one number, such as 1 and 01; correct them")
    file = names_file(raw)
    if file is None:
        return {label: label for label in ordered}
    names = "".join(raw.lines(file)).rstrip().splitlines()
    names = [unicodedata.normalize("NFC", name.strip()) for name in names]
    if len(names) == len(ordered):
        named = dict(zip(ordered, names, strict=True))
    else:  # the names of more classes than these, from 0 on
        named = {label: names[int(label)] for label in ordered if int(label) < len(names)}
    if len(named) != len(ordered) or len(set(names)) != len(names) or "" in names:
        raise FerError(
            f"{raw.path}/{file}: does not have one line with a name of its own for each of the "
            f"labels {', '.join(ordered[:20])}; correct it"
        )
    return named


def names_file(raw: RawFolder) -> str | None:
    """Return the name of the file classes.txt in a data set; None without one."""
    return next((name for name in raw.names if PurePosixPath(name).name.lower() == FILE), None)
