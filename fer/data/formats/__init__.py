"""The formats of data sets that are read, each a module here and an entry of `FORMATS`.

A format has a `NAME`, tells by `recognizes(raw)` whether the files are of its kind, by their
content, and reads them by `read(raw, prepare)` into a `DataSet`.
"""

from pathlib import Path
from typing import Protocol

from fer.data.dataset import DataSet, check, warn, warn_of_contradictions
from fer.data.formats import ferplus, folders, pixels, rafdb, table
from fer.data.raw import RawFolder
from fer.data.splitting import complete
from fer.errors import FerError
from fer.params import Prepare

_COMPETITION = (
    "https://www.kaggle.com/c/"
    "challenges-in-representation-learning-facial-expression-recognition-challenge"
)


class Format(Protocol):
    """What a module of this package provides."""

    NAME: str

    def recognizes(self, raw: RawFolder) -> bool:
        """Whether the files are of this format."""

    def read(self, raw: RawFolder, prepare: Prepare) -> DataSet:
        """Read them; raises FerError."""


FORMATS: tuple[Format, ...] = (ferplus, rafdb, table, pixels, folders)
"""In the order in which they are tried."""


def read(folder: Path, prepare: Prepare) -> DataSet:
    """Read the data set in `folder`, whatever its format, and cut the splits that it lacks.

    Returns:
        The splits "train", "val" and "test", none of them empty.

    Raises:
        FerError: Where the folder holds no data set, or not one that can be trained on.
    """
    raw = RawFolder(folder)
    for form in FORMATS:
        if form.recognizes(raw):
            print(f"reading {folder}: {form.NAME}", flush=True)
            data = form.read(raw, prepare)
            _warn_of_unread_pictures(raw, data)
            data = complete(data, prepare, str(folder)).named(form.NAME)
            if data.dropped:
                print(f"left out: {data.reasons()}; listed in dropped.csv", flush=True)
            warn_of_contradictions(data)
            check(data, str(folder))
            return data
    found = ", ".join(raw.names[:3]) + (", ..." if len(raw.names) > 3 else "")
    raise FerError(
        f"{folder} holds no data{f' that is recognized (found {found})' if found else ''}: put a "
        "folder of pictures for each class there, or Kaggle's fer2013.csv, icml_face_data.csv or "
        f"fer2013.tar.gz, from {_COMPETITION} ; or go back to the built-in faces, which need "
        "nothing, with `dataset: sample` in params.yaml"
    )


def _warn_of_unread_pictures(raw: RawFolder, data: DataSet) -> None:
    read_ones = {source for split in data.sources.values() for source in split}
    read_ones |= {one.source for one in data.dropped}
    unread = [name for name in raw.pictures if name not in read_ones]
    if unread:
        warn(f"pictures without a label, which are not read: {len(unread)}, such as {unread[0]}")
