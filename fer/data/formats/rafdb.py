"""RAF-DB as its authors distribute it: pictures in one folder, labels in another.

Li, Deng and Du 2017, Reliable Crowdsourcing and Deep Locality-Preserving Learning for Expression
Recognition in the Wild, CVPR:2584-2593.
"""

import re
from pathlib import PurePosixPath

from fer.core.errors import FerError
from fer.core.params import Prepare
from fer.data.dataset import DataSet
from fer.data.pictures import read_pictures
from fer.data.raw import RawFolder

NAME = "RAF-DB"

CLASSES = ("Surprise", "Fear", "Disgust", "Happiness", "Sadness", "Anger", "Neutral")
"""The classes, in the order of the labels 1 to 7."""

_LINE = re.compile(r"((train|test)_\d+)\.jpg +([1-7])\s*")


def recognizes(raw: RawFolder) -> bool:
    """Tell whether a file starts with a line such as `train_00001.jpg 5`."""
    return bool(_lists(raw))


def read(raw: RawFolder, prepare: Prepare) -> DataSet:
    """Read the pictures of list_patition_label.txt; aligned ones are preferred to original ones."""
    (file, *others) = _lists(raw)
    if others:
        raise FerError(f"{raw.path}: has {file} and {others[0]}; keep one of them")
    by_stem = {}
    for name in raw.pictures:  # an aligned picture replaces an original one
        stem = PurePosixPath(name).stem
        if stem.endswith("_aligned") or stem not in by_stem:
            by_stem[stem.removesuffix("_aligned")] = name
    labelled: dict[str, tuple[str, str]] = {}
    for number, line in enumerate(raw.lines(file), start=1):
        if line.isspace():
            continue
        match = _LINE.fullmatch(line)
        if not match or match[1] not in by_stem:
            raise FerError(
                f"{raw.path}/{file}: line {number}: is not a line such as `train_00001.jpg 5` with "
                "a label from 1 to 7, or there is no such picture; correct it"
            )
        stem, split, label = match.groups()
        labelled[by_stem[stem]] = split, label
    names = {str(number): name for number, name in enumerate(CLASSES, start=1)}
    return read_pictures(raw, labelled, prepare, names)


def _lists(raw: RawFolder) -> list[str]:
    first_lines = {
        name: head.decode("utf-8-sig", errors="replace").partition("\n")[0]
        for name, head in raw.heads.items()
    }
    return [name for name, line in first_lines.items() if _LINE.fullmatch(line)]
