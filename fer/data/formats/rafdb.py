"""RAF-DB as its authors distribute it: pictures in one folder, labels in another.

Li, Deng and Du 2017, Reliable Crowdsourcing and Deep Locality-Preserving Learning for Expression
Recognition in the Wild, CVPR:2584-2593.
"""

import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from fer.core.errors import FerError
from fer.core.params import Prepare
from fer.data.dataset import DataSet, split_in
from fer.data.formats import table
from fer.data.formats.columns import first_line
from fer.data.raw import RawFolder

NAME = "RAF-DB"

CLASSES = ("Surprise", "Fear", "Disgust", "Happiness", "Sadness", "Anger", "Neutral")
"""The classes, in the order of the labels 1 to 7."""

_LINE = re.compile(r"(train|test)_\d+\.jpg +[1-7]\s*")


def find(raw: RawFolder) -> list[str]:
    """Return the files that start with a line such as `train_00001.jpg 5`."""
    return [name for name, head in raw.heads.items() if _LINE.fullmatch(first_line(head))]


def read(raw: RawFolder, prepare: Prepare) -> DataSet:
    """Read the pictures of list_patition_label.txt; aligned ones are preferred to original ones."""
    (file, *others) = find(raw)
    if others:
        raise FerError(f"{raw.path}: has {file} and {others[0]}; keep one of them")
    names = {str(number): name for number, name in enumerate(CLASSES, start=1)}
    return table.read_listed(raw, _rows(raw, file), prepare, names)


def _rows(raw: RawFolder, file: str) -> Iterator[table.Row]:
    pictures = {PurePosixPath(name).name for name in raw.pictures}
    for location, (*_, path), label, _ in table.read_rows(raw, file):
        aligned = path.replace(".jpg", "_aligned.jpg")
        yield location, (aligned if aligned in pictures else path,), label, split_in(path)
