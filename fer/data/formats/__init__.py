"""The formats of data sets: one module and one entry of `FORMATS` per format.

A format has a `NAME`, a function `find(raw)` that returns its files, which it recognizes by their
content, and a function `read(raw, prepare)` that returns a `DataSet`, or raises a FerError that
names the file and, where there is one, the line.
"""

from dataclasses import replace
from pathlib import Path

from fer.core.errors import FerError
from fer.core.params import Prepare
from fer.data import corrections
from fer.data.dataset import DataSet, check, warn
from fer.data.formats import affectnet, ferplus, folders, pixels, rafdb, table
from fer.data.groups import warn_of_shared_stems
from fer.data.raw import RawFolder, open_raw
from fer.data.splitting import add_missing_splits

FORMATS = (ferplus, rafdb, affectnet, table, pixels, folders)
"""The formats in the order in which they are tried."""

_COMPETITION = (
    "https://www.kaggle.com/c/"
    "challenges-in-representation-learning-facial-expression-recognition-challenge"
)


def read(folder: Path, prepare: Prepare) -> DataSet:
    """Return the data set in a folder, whatever its format, with "train", "val" and "test"."""
    data = add_missing_splits(read_labelled(folder, prepare), prepare, str(folder))
    if data.dropped:
        print(f"left out: {data.reasons()}; listed in dropped.csv", flush=True)
    data = corrections.correct(data, folder, prepare)
    check(data, str(folder))
    if not data.groups:
        warn_of_shared_stems(data)
    return data


def read_labelled(path: Path, prepare: Prepare) -> DataSet:
    """Return the labelled faces in a folder or a single file, with its splits, or "unsplit"."""
    with open_raw(path) as raw:
        for format_module in FORMATS:
            if format_module.find(raw):
                print(f"reading {path}: {format_module.NAME}", flush=True)
                data = format_module.read(raw, prepare)
                _warn_of_unread_pictures(raw, data)
                return replace(data, format=format_module.NAME)
        files = ", ".join(raw.names[:3]) + (", ..." if len(raw.names) > 3 else "")
    raise FerError(
        f"{path} holds no data{f' that is recognized (found {files})' if files else ''}: put a "
        "folder of pictures for each class there, or a CSV with the columns emotion, pixels and "
        f"Usage, such as Kaggle's fer2013.csv from {_COMPETITION} ; or use the built-in sample, "
        "with `dataset: sample` in params.yaml"
    )


def _warn_of_unread_pictures(raw: RawFolder, data: DataSet) -> None:
    sources = {source for split in data.sources.values() for source in split}
    sources |= {face.source for face in data.dropped}
    unread = [name for name in raw.pictures if name not in sources]
    if unread:
        warn(f"pictures without a label, which are not read: {len(unread)}, such as {unread[0]}")
