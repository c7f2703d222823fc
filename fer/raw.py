"""The folder into which a user puts a data set as it was downloaded."""

import os
from collections.abc import Sequence
from pathlib import Path

from fer.errors import FerError

SUFFIXES = (".csv", ".csv.gz", ".csv.zip", ".gz", ".zip", ".tar.gz", ".tgz", ".tar")
"""What a data set is recognized by; of two kinds of file, the first is taken."""

_KAGGLE_NAMES = ("fer2013.csv", "icml_face_data.csv")

_COMPETITION = (
    "https://www.kaggle.com/c/"
    "challenges-in-representation-learning-facial-expression-recognition-challenge"
)


def find(folder: Path) -> Path:
    """The CSV of faces in `folder` or below, or without a CSV, the archive.

    Raises FerError where there is none, or it cannot be told which.
    """
    folder = Path(folder)
    files = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    kinds = ([str(f) for f in files if f.name.endswith(suffix)] for suffix in SUFFIXES)
    names = next(filter(None, kinds), [])
    if not names:
        raise FerError(
            f"{folder} holds no data: put Kaggle's fer2013.csv, icml_face_data.csv or "
            f"fer2013.tar.gz there, from {_COMPETITION} ; or go back to the built-in faces, which "
            "need nothing, with `dataset: sample` in params.yaml"
        )
    return folder / choose(folder, names)


def choose(place: Path, names: Sequence[str]) -> str:
    """The one of the `names` in a folder or archive that holds faces: the only one, or Kaggle's.

    Raises FerError where none or several may be it.
    """
    # Not what a system or a run that was killed left behind, such as ._x or .writing-1/x.
    visible = [n for n in names if not any(part.startswith(".") for part in Path(n).parts)]
    chosen = [name for name in visible if Path(name).name in _KAGGLE_NAMES] or visible
    if len(chosen) != 1:
        raise FerError(f"{place}: needs one file of faces inside, found {chosen or 'none'}")
    return chosen[0]


def link(source: Path, folder: Path) -> None:
    """Make the files in `source`, and below, stand in `folder` too, as links to them.

    Files that are in `folder` stay as they are; where the two are the same folder, nothing is done.
    """
    for path in sorted(Path(source).resolve().rglob("*")):
        target = Path(folder, path.relative_to(Path(source).resolve()))
        if path.is_file() and not os.path.lexists(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(path)
