"""Read pictures with known classes and splits, the last step of several formats."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fer.core.faces import Faces
from fer.core.params import Prepare
from fer.data import pictures
from fer.data.dataset import UNSPLIT, DataSet, Dropped, check_classes
from fer.data.raw import RawFolder


@dataclass(frozen=True)
class Picture:
    """A picture of a data set.

    Attributes:
        file: Name of its file.
        label: Name of its class.
        split: Name of its split; "" if the data set has no splits.
    """

    file: str
    label: str
    split: str


def read_pictures(
    raw: RawFolder, listed: Sequence[Picture], prepare: Prepare, classes: Sequence[str]
) -> DataSet:
    """Read pictures into their splits.

    Args:
        raw: The files of the data set.
        listed: The pictures, in any order.
        prepare: How to read pictures.
        classes: Names of the classes, in the order of the labels.

    Raises:
        FerError: If two names of classes are too similar, or a picture cannot be read.
    """
    check_classes(tuple(classes), str(raw.path))
    by_split = defaultdict(list)
    for picture in sorted(listed, key=lambda picture: picture.file):
        by_split[picture.split or UNSPLIT].append(picture)
    numbers = {name: number for number, name in enumerate(classes)}
    splits: dict[str, Faces] = {}
    sources: dict[str, list[str]] = {}
    dropped: list[Dropped] = []
    for split, members in sorted(by_split.items()):
        files = [picture.file for picture in members]
        images, rows, split_dropped = pictures.read(raw, files, prepare)
        labels = np.array([numbers[members[row].label] for row in rows], np.uint8)
        splits[split] = Faces(images, labels, tuple(classes))
        sources[split] = [files[row] for row in rows]
        dropped += split_dropped
    return DataSet(splits, sources, dropped)
