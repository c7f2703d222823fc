"""AffectNet as its authors distribute it: a file of NumPy with the label of each picture.

Mollahosseini, Hasani and Mahoor 2017, arXiv:1708.03985.
"""

import numpy as np

from fer.core.errors import FerError
from fer.core.params import Prepare
from fer.data.dataset import UNSPLIT, DataSet, split_in
from fer.data.pictures import read_pictures
from fer.data.raw import RawFolder

NAME = "AffectNet"

CLASSES = (
    *("Neutral", "Happiness", "Sadness", "Surprise", "Fear", "Disgust", "Anger", "Contempt"),
)
"""The classes, in the order of the labels 0 to 7."""

_SUFFIX = "_exp.npy"


def recognizes(raw: RawFolder) -> bool:
    """Tell whether there is a file such as `train_set/annotations/0_exp.npy`."""
    return any(name.endswith(_SUFFIX) for name in raw.names)


def read(raw: RawFolder, prepare: Prepare) -> DataSet:
    """Read the pictures, such as `train_set/images/0.jpg`, with the labels beside them."""
    pictures = {name.rpartition(".")[0]: name for name in raw.pictures}
    labelled: dict[str, tuple[str, str]] = {}
    for file in raw.names:
        if not file.endswith(_SUFFIX):
            continue
        folder, _, stem = file.removesuffix(_SUFFIX).rpartition("/")
        part = folder.rpartition("/")[0]
        picture = f"{part}/images/{stem}".lstrip("/")
        if picture not in pictures:
            raise FerError(f"{raw.path}/{file}: there is no picture {picture}; add it")
        try:
            label = range(len(CLASSES)).index(int(np.load(raw.file(file)).item()))
        except (EOFError, OSError, ValueError) as error:
            last = len(CLASSES) - 1
            raise FerError(f"{raw.path}/{file}: is no label from 0 to {last}; remove it") from error
        labelled[pictures[picture]] = split_in(part) or UNSPLIT, str(label)
    return read_pictures(raw, labelled, prepare, {str(n): name for n, name in enumerate(CLASSES)})
