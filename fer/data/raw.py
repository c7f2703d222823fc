"""The folder into which a user puts a data set as it was downloaded."""

import os
from collections.abc import Sequence
from pathlib import Path, PurePath

from fer.errors import FerError

SUFFIXES = (".csv", ".csv.gz", ".csv.zip", ".zip", ".tar.gz", ".tgz", ".tar", ".gz")
"""What a data set is recognized by; of two kinds of one name, the first is taken."""

_KAGGLE_NAMES = ("fer2013", "icml_face_data")
"""Names of Kaggle's files without their suffixes, the preferred one first."""

_COMPETITION = (
    "https://www.kaggle.com/c/"
    "challenges-in-representation-learning-facial-expression-recognition-challenge"
)


def find(folder: Path) -> Path:
    """The file of faces in `folder` or below: as `choose` chooses among CSVs and archives.

    Raises FerError where there is none, or it cannot be told which.
    """
    names = [str(name) for name in _files(folder) if str(name).lower().endswith(SUFFIXES)]
    if not names:
        raise FerError(
            f"{folder} holds no data: put Kaggle's fer2013.csv, icml_face_data.csv or "
            f"fer2013.tar.gz there, from {_COMPETITION} ; or go back to the built-in faces, which "
            "need nothing, with `dataset: sample` in params.yaml"
        )
    return Path(folder, choose(folder, names))


def choose(place: Path, names: Sequence[str]) -> str:
    """The one of the `names` in a folder or archive that holds faces.

    A file named as Kaggle's comes first, then a CSV before an archive.

    Raises FerError where none or several may be it.
    """
    # Not what a system or a run that was killed left behind, such as ._x or .writing-1/x.
    visible = [n for n in names if not any(part.startswith(".") for part in PurePath(n).parts)]
    first = min(map(_rank, visible), default=None)
    chosen = [name for name in visible if _rank(name) == first]
    if len(chosen) != 1:
        raise FerError(f"{place}: needs one file of faces inside, found {chosen or 'none'}")
    return chosen[0]


def link(source: Path, folder: Path) -> None:
    """Make the files in `source`, and below, stand in `folder` too, as links to them.

    Files that are in `folder` stay as they are; where the two are the same folder, nothing is done.

    Raises FerError where the links cannot be made.
    """
    for name in _files(source):
        target = Path(folder, name)
        if os.path.lexists(target):
            continue
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(Path(source, name).resolve())
        except OSError as error:
            raise FerError(f"{target}: cannot be linked: {error.strerror}") from error


def _files(folder: Path) -> list[Path]:
    """Files in `folder` and below, by their names relative to it; links are followed."""
    return sorted(
        Path(where, name).relative_to(folder)
        for where, _, names in os.walk(folder, followlinks=True)
        for name in names
        if Path(where, name).is_file()
    )


def _rank(name: str) -> tuple[int, int]:
    """The lower, the more likely it holds the faces: by its name, then by its kind."""
    lower = PurePath(name).name.lower()
    kinds = [n for n, suffix in enumerate(SUFFIXES) if lower.endswith(suffix)]
    kind = kinds[0] if kinds else len(SUFFIXES)
    stem = lower.removesuffix(SUFFIXES[kind]) if kinds else lower
    named = _KAGGLE_NAMES.index(stem) if stem in _KAGGLE_NAMES else len(_KAGGLE_NAMES)
    return named, kind
