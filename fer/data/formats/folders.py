"""Folders of pictures: `<split>/<class>/*` or `<class>/*`, at any depth."""

import unicodedata
from collections import defaultdict
from pathlib import PurePosixPath

from fer.core.errors import FerError
from fer.core.params import Prepare
from fer.data.dataset import DataSet, warn
from fer.data.formats.listing import Picture, read_pictures
from fer.data.labels import class_names
from fer.data.raw import RawFolder

NAME = "folders of pictures"

SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""Names of the folders of splits in lower case, and the names of the splits here."""


def recognizes(raw: RawFolder) -> bool:
    """Tell whether there are pictures.

    Args:
        raw: The files of the data set.
    """
    return bool(raw.pictures)


def read(raw: RawFolder, prepare: Prepare) -> DataSet:
    """Read the pictures; their folders are the splits and classes.

    Args:
        raw: The files of the data set.
        prepare: How to read pictures.

    Raises:
        FerError: If the folders do not give the class of each picture.
    """
    _warn_of_other_files(raw)
    labelled = _split_folders(raw) or _class_folders(raw)
    _refuse_yolo(raw, labelled)
    names = class_names(raw, {label for _, label in labelled.values()})
    return read_pictures(
        raw,
        [Picture(file, names[label], split) for file, (split, label) in labelled.items()],
        prepare,
        list(names.values()),
    )


def _split_folders(raw: RawFolder) -> dict[str, tuple[str, str]]:
    """Return split and class of each picture, if folders of splits contain folders of classes."""
    labelled, roots, outside = {}, defaultdict(set), []
    for name in raw.pictures:
        folders = PurePosixPath(name).parts[:-1]
        depth = next((d for d, part in enumerate(folders) if part.lower() in SPLITS), None)
        if depth is None:
            outside.append(name)
            continue
        split = SPLITS[folders[depth].lower()]
        while len(folders) > depth + 2 and SPLITS.get(folders[depth + 1].lower()) == split:
            depth += 1  # train/train/happy, as some archives unpack
        if depth + 1 == len(folders):
            raise FerError(
                f"{raw.path}: {name} is in no folder of a class; move it to "
                f"{folders[depth]}/<class>/"
            )
        labelled[name] = (split, unicodedata.normalize("NFC", folders[depth + 1]))
        roots[split].add("/".join(folders[: depth + 1]))
    if labelled and outside:
        raise FerError(
            f"{raw.path}: {outside[0]} is in no split, but others are in train, val or test; move "
            "it into one"
        )
    _refuse_copies(raw, roots)
    return labelled


def _refuse_copies(raw: RawFolder, roots: dict[str, set[str]]) -> None:
    for split, folders in roots.items():
        if len(folders) > 1:
            shown = " and ".join(sorted(folders)[:3])
            raise FerError(f"{raw.path}: {split} is in {shown}; keep one of them")


def _class_folders(raw: RawFolder) -> dict[str, tuple[str, str]]:
    """Return the class of each picture without splits: the first folder in which they differ."""
    paths = {name: PurePosixPath(name).parts for name in raw.pictures}
    root = 0
    while len({parts[root] for parts in paths.values()}) == 1:
        root += 1
        if any(len(parts) <= root for parts in paths.values()):
            break
    shallow = [name for name, parts in paths.items() if len(parts) <= root + 1]
    if len(shallow) == len(paths) and root:
        root, shallow = root - 1, []  # a single class
    if len(shallow) == len(paths):
        raise FerError(
            f"{raw.path}: all pictures are in the folder itself; make a folder for each class, two "
            "or more, such as happy/1.jpg and sad/2.jpg"
        )
    if shallow:
        raise FerError(f"{raw.path}: {shallow[0]} is in no folder of a class; move it into one")
    folders = {"/".join(parts[: root + 1]) for parts in paths.values()}
    if folders & raw.archives:
        shown = " and ".join(sorted(folders)[:3])
        raise FerError(f"{raw.path}: pictures are in {shown}; keep one of them")
    return {name: ("", unicodedata.normalize("NFC", parts[root])) for name, parts in paths.items()}


def _refuse_yolo(raw: RawFolder, labelled: dict[str, tuple[str, str]]) -> None:
    if {label.lower() for _, label in labelled.values()} == {"images"}:
        raise FerError(
            f"{raw.path}: has YOLO's layout, images with boxes in labels; make a folder for each "
            "class, such as train/happy/1.jpg"
        )


def _warn_of_other_files(raw: RawFolder) -> None:
    others = [name for name in raw.others() if not name.lower().endswith("classes.txt")]
    if others:
        warn(f"files that are no pictures and are not read: {len(others)}, such as {others[0]}")
