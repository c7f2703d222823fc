"""Folders of pictures: `<split>/<class>/*` or `<class>/*`, at any depth."""

from collections import defaultdict
from pathlib import PurePosixPath

from fer.core.errors import FerError
from fer.core.params import Prepare
from fer.data.dataset import SPLIT_NAMES, UNSPLIT, DataSet, warn
from fer.data.labels import FILE
from fer.data.pictures import read_pictures
from fer.data.raw import RawFolder

NAME = "folders of pictures"


def recognizes(raw: RawFolder) -> bool:
    """Tell whether there are pictures."""
    return bool(raw.pictures)


def read(raw: RawFolder, prepare: Prepare) -> DataSet:
    """Read the pictures; their folders are the splits and classes."""
    others = [name for name in raw.heads if not name.lower().endswith(FILE)]
    if others:
        warn(f"files that are no pictures and are not read: {len(others)}, such as {others[0]}")
    return read_pictures(raw, _split_folders(raw) or _class_folders(raw), prepare)


def _split_folders(raw: RawFolder) -> dict[str, tuple[str, str]]:
    """Return split and class of each picture, if folders of splits contain folders of classes."""
    labelled, roots, outside = {}, defaultdict(set), []
    for name in raw.pictures:
        folders = PurePosixPath(name).parts[:-1]
        splits = [SPLIT_NAMES.get(folder.lower(), "") for folder in folders]
        if not any(splits):
            outside.append(name)
            continue
        split = next(filter(None, splits))
        depth = splits.index(split)
        while len(folders) > depth + 2 and splits[depth + 1] == split:
            depth += 1  # train/train/happy, as some archives unpack
        if depth + 1 == len(folders):
            raise _no_class(raw, name)
        labelled[name] = (split, folders[depth + 1])
        roots[split].add("/".join(folders[: depth + 1]))
    if labelled and outside:
        raise FerError(
            f"{raw.path}: {outside[0]} is in no split, but others are in train, val or test; move "
            "it into one"
        )
    for folders in roots.values():
        if len(folders) > 1:
            raise _copies(raw, folders)
    return labelled


def _class_folders(raw: RawFolder) -> dict[str, tuple[str, str]]:
    """Return the class of each picture without splits: the first folder in which they differ."""
    paths = {name: PurePosixPath(name).parts for name in raw.pictures}
    shortest = min(map(len, paths.values()))
    root = 0
    while root < shortest - 1 and len({parts[root] for parts in paths.values()}) == 1:
        root += 1
    if root and all(len(parts) == root + 1 for parts in paths.values()):
        root -= 1  # a single class
    for name, parts in paths.items():
        if len(parts) == root + 1:
            raise _no_class(raw, name)
    folders = {"/".join(parts[: root + 1]) for parts in paths.values()}
    if any((raw.path / folder).is_file() for folder in folders):  # an archive
        raise _copies(raw, folders)
    return {name: (UNSPLIT, parts[root]) for name, parts in paths.items()}


def _no_class(raw: RawFolder, name: str) -> FerError:
    return FerError(
        f"{raw.path}: {name} is in no folder of a class; make a folder for each class, two or "
        "more, such as happy/1.jpg and sad/2.jpg"
    )


def _copies(raw: RawFolder, folders: set[str]) -> FerError:
    shown = " and ".join(sorted(folders)[:3])
    return FerError(f"{raw.path}: pictures are in {shown}; keep one of them")
