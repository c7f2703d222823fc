"""Read pictures whose classes and splits are known: what several formats end with."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fer.data import pictures
from fer.data.dataset import UNSPLIT, DataSet, Dropped, check_classes
from fer.data.raw import RawFolder
from fer.errors import FerError
from fer.faces import Faces
from fer.params import Prepare


@dataclass(frozen=True)
class Picture:
    """A picture of a data set: its file, its class, and its split ("" where there are none)."""

    file: str
    label: str
    split: str


def read_pictures(
    raw: RawFolder, listed: Sequence[Picture], prepare: Prepare, classes: Sequence[str]
) -> DataSet:
    """Read the pictures `listed` into the splits that they name.

    Args:
        raw: The files of the data set.
        listed: The pictures, in any order.
        prepare: How pictures are read.
        classes: Names of the classes, in the order of the labels.

    Raises:
        FerError: Where the classes cannot be told apart, or a class is not in train, or a picture
            cannot be read.
    """
    check_classes(tuple(classes), str(raw.path))
    by_split = defaultdict(list)
    for picture in sorted(listed, key=lambda one: one.file):
        by_split[picture.split or UNSPLIT].append(picture)
    _check_train(raw, by_split)
    numbers = {name: number for number, name in enumerate(classes)}
    splits: dict[str, Faces] = {}
    sources: dict[str, list[str]] = {}
    dropped: list[Dropped] = []
    for split, own in sorted(by_split.items()):
        images, rows, left_out = pictures.read(raw, [one.file for one in own], prepare)
        labels = np.array([numbers[own[row].label] for row in rows], np.uint8)
        splits[split] = Faces(images, labels, tuple(classes))
        sources[split] = [own[row].file for row in rows]
        dropped += left_out
    return DataSet(splits, sources, dropped)


def _check_train(raw: RawFolder, by_split: dict[str, list[Picture]]) -> None:
    if by_split.keys() == {UNSPLIT}:
        return
    if "train" not in by_split:
        raise FerError(f"{raw.path}: has {', '.join(sorted(by_split))}, but no train")
    known = {picture.label for picture in by_split["train"]}
    for split, own in sorted(by_split.items()):
        for picture in own:
            if picture.label not in known:
                raise FerError(
                    f"{raw.path}: class {picture.label} is in {split} ({picture.file}), but not in "
                    "train"
                )
