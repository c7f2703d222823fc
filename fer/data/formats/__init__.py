"""The formats of data sets: one module and one entry of `FORMATS` per format.

A format has a `NAME`, a function `recognizes(raw)` that decides by the content of the files, and a
function `read(raw, prepare)` that returns a `DataSet`.
"""

from pathlib import Path
from typing import Protocol

from fer.core.errors import FerError
from fer.core.params import Prepare
from fer.data.dataset import DataSet, check, warn, warn_of_contradictions
from fer.data.formats import ferplus, folders, pixels, rafdb, table
from fer.data.raw import RawFolder
from fer.data.splitting import add_missing_splits

_COMPETITION = (
    "https://www.kaggle.com/c/"
    "challenges-in-representation-learning-facial-expression-recognition-challenge"
)


class Format(Protocol):
    """What a module of this package provides.

    Attributes:
        NAME: Name of the format, as in metrics and messages.
    """

    NAME: str

    def recognizes(self, raw: RawFolder) -> bool:
        """Tell whether the files are of this format.

        Args:
            raw: The files of the data set.
        """

    def read(self, raw: RawFolder, prepare: Prepare) -> DataSet:
        """Read the data set.

        Args:
            raw: The files of the data set.
            prepare: How to read it.

        Raises:
            FerError: If the files are not as the format needs them.
        """


FORMATS: tuple[Format, ...] = (ferplus, rafdb, table, pixels, folders)
"""The formats in the order in which they are tried."""


def read(folder: Path, prepare: Prepare) -> DataSet:
    """Read the data set in a folder, whatever its format, and add the splits that it lacks.

    Args:
        folder: The folder of the data set.
        prepare: How to read and split it.

    Returns:
        The data set with the splits "train", "val" and "test", none of them empty.

    Raises:
        FerError: If the folder holds no data set, or one that cannot be trained on.
    """
    data = read_labelled(folder, prepare)
    data = add_missing_splits(data, prepare, str(folder)).with_format(data.format)
    if data.dropped:
        print(f"left out: {data.reasons()}; listed in dropped.csv", flush=True)
    warn_of_contradictions(data)
    check(data, str(folder))
    return data


def read_labelled(folder: Path, prepare: Prepare) -> DataSet:
    """Read the labelled faces in a folder, whatever their format, with the splits that it has.

    Args:
        folder: The folder of the data set, or its only file.
        prepare: How to read it.

    Returns:
        The data set; without splits, its only one is "unsplit".

    Raises:
        FerError: If the folder holds no data set.
    """
    raw = RawFolder(folder)
    for format_module in FORMATS:
        if format_module.recognizes(raw):
            print(f"reading {folder}: {format_module.NAME}", flush=True)
            data = format_module.read(raw, prepare)
            _warn_of_unread_pictures(raw, data)
            return data.with_format(format_module.NAME)
    files = ", ".join(raw.names[:3]) + (", ..." if len(raw.names) > 3 else "")
    raise FerError(
        f"{folder} holds no data{f' that is recognized (found {files})' if files else ''}: put a "
        "folder of pictures for each class there, or Kaggle's fer2013.csv, icml_face_data.csv or "
        f"fer2013.tar.gz, from {_COMPETITION} ; or use the built-in sample, with `dataset: sample` "
        "in params.yaml"
    )


def _warn_of_unread_pictures(raw: RawFolder, data: DataSet) -> None:
    sources = {source for split in data.sources.values() for source in split}
    sources |= {face.source for face in data.dropped}
    unread = [name for name in raw.pictures if name not in sources]
    if unread:
        warn(f"pictures without a label, which are not read: {len(unread)}, such as {unread[0]}")
