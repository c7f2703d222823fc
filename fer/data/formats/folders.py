"""Folders of pictures: `<split>/<class>/*` or `<class>/*`, at any depth."""

from collections import defaultdict
from pathlib import PurePosixPath

from fer.core.errors import FerError
from fer.core.params import Prepare
from fer.data.dataset import SPLIT_NAMES, SPLITS, UNSPLIT, DataSet, split_in, warn
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
    if raw.empty_folders:
        count = len(raw.empty_folders)
        warn(f"empty folders, which are no classes: {count}, such as {raw.empty_folders[0]}")
    subfolders = _subfolders(raw)
    placed = _split_folders(raw, subfolders) or _class_folders(raw)
    _check_classes(raw, sorted({folder for _, folder in placed.values()}), subfolders)
    labelled = {n: (split, PurePosixPath(folder).name) for n, (split, folder) in placed.items()}
    return read_pictures(raw, labelled, prepare)


def _subfolders(raw: RawFolder) -> dict[str, set[str]]:
    """Return the names of the folders with pictures in each folder, "" for the data set's own."""
    subfolders = defaultdict(set)
    for name in raw.pictures:
        folders = PurePosixPath(name).parts[:-1]
        for depth, folder in enumerate(folders):
            subfolders["/".join(folders[:depth])].add(folder)
    return dict(subfolders)


def _splits(subfolders: dict[str, set[str]]) -> dict[str, str]:
    """Return the split of each folder that is one.

    Folders with a split's very name are splits. Folders with names that contain one are splits if
    there are several splits beside each other, with a class in common.
    """
    splits = {}
    for parent, names in subfolders.items():
        paths = {name: f"{parent}/{name}".lstrip("/") for name in names}
        named = {path: split for name, path in paths.items() if (split := split_in(name))}
        classes = [subfolders.get(path, set()) for path in named]
        if len(set(named.values())) > 1 and set.intersection(*classes):
            splits |= named
        splits |= {
            path: SPLIT_NAMES[name.lower()]
            for name, path in paths.items()
            if name.lower() in SPLIT_NAMES
        }
    return splits


def _split_folders(raw: RawFolder, subfolders: dict[str, set[str]]) -> dict[str, tuple[str, str]]:
    """Return each picture's split and class folder, if splits contain folders of classes."""
    split_of = _splits(subfolders)
    placed, roots, outside = {}, defaultdict(set), []
    for name in raw.pictures:
        folders = PurePosixPath(name).parts[:-1]
        paths = ["/".join(folders[: depth + 1]) for depth in range(len(folders))]
        splits = [split_of.get(path, "") for path in paths]
        if not any(splits):
            outside.append(name)
            continue
        split = next(filter(None, splits))
        depth = splits.index(split)
        while len(folders) > depth + 2 and splits[depth + 1] == split:
            depth += 1  # train/train/happy, as some archives unpack
        if depth + 1 == len(folders):
            raise _no_class(raw, name)
        placed[name] = (split, paths[depth + 1])
        roots[split].add(paths[depth])
    if placed and outside:
        raise FerError(
            f"{raw.path}: {outside[0]} is in no split, but others are in train, val or test; move "
            "it into one"
        )
    for folders in roots.values():
        if len(folders) > 1:
            raise _copies(raw, folders)
    return placed


def _class_folders(raw: RawFolder) -> dict[str, tuple[str, str]]:
    """Return each picture's class folder, without splits: the first in which the paths differ."""
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
    return {name: (UNSPLIT, "/".join(parts[: root + 1])) for name, parts in paths.items()}


def _check_classes(raw: RawFolder, folders: list[str], subfolders: dict[str, set[str]]) -> None:
    """Refuse folders of classes that are splits, persons or the like."""
    advice = (
        "call the folders of splits train, val and test, and give each of them the same folders of "
        "classes"
    )
    for folder in folders:
        name = PurePosixPath(folder).name
        if word := next((word for word in SPLITS if word in name.lower()), None):
            raise FerError(
                f"{raw.path}: {folder} would be a class, but its name contains {word}; rename a "
                f"class, or {advice}"
            )
    inner = [subfolders.get(folder, set()) for folder in folders]
    if len(folders) > 1 and len(inner[0]) > 1 and all(names == inner[0] for names in inner):
        raise FerError(
            f"{raw.path}: {' and '.join(folders[:2])} hold the same folders, such as "
            f"{min(inner[0])}, and would be classes; remove one level of folders, or {advice}"
        )


def _no_class(raw: RawFolder, name: str) -> FerError:
    return FerError(
        f"{raw.path}: {name} is in no folder of a class; make a folder for each class, two or "
        "more, such as happy/1.jpg and sad/2.jpg"
    )


def _copies(raw: RawFolder, folders: set[str]) -> FerError:
    shown = " and ".join(sorted(folders)[:3])
    return FerError(f"{raw.path}: pictures are in {shown}; keep one of them")
