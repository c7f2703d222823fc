"""AffectNet as its authors distribute it: a file of NumPy with the label of each picture.

Mollahosseini, Hasani and Mahoor 2017, arXiv:1708.03985.
"""

from collections.abc import Iterator
from contextlib import suppress

import numpy as np

from fer.core.params import Prepare
from fer.data.dataset import DataSet, split_in
from fer.data.formats import table
from fer.data.raw import RawFolder

NAME = "AffectNet"

CLASSES = (
    *("Neutral", "Happiness", "Sadness", "Surprise", "Fear", "Disgust", "Anger", "Contempt"),
)
"""The classes, in the order of the labels 0 to 7."""

_SUFFIX = "_exp.npy"


def find(raw: RawFolder) -> list[str]:
    """Return the files of labels, such as `train_set/annotations/0_exp.npy`."""
    return [name for name in raw.names if name.endswith(_SUFFIX)]


def read(raw: RawFolder, prepare: Prepare) -> DataSet:
    """Read the pictures, such as `train_set/images/0.jpg`, with the labels beside them."""
    names = {str(number): name for number, name in enumerate(CLASSES)}
    return table.read_listed(raw, _rows(raw), prepare, names)


def _rows(raw: RawFolder) -> Iterator[table.Row]:
    for file in find(raw):
        label = ""
        with suppress(EOFError, OSError, ValueError):
            label = str(int(np.load(raw.file(file)).item()))
        picture = file.replace("annotations/", "images/").replace(_SUFFIX, ".jpg")
        yield f"{raw.path}/{file}", (picture,), label, split_in(file.rpartition("/")[0])
