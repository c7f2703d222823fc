"""Folders of pictures: `<split>/<class>/*` or `<class>/*`, at any depth."""

import os
from collections import defaultdict
from pathlib import PurePosixPath

from fer.core.errors import FerError
from fer.core.params import Prepare
from fer.data.dataset import SPLIT_NAMES, SPLITS, UNSPLIT, DataSet, split_in, warn
from fer.data.labels import FILE
from fer.data.pictures import read_pictures
from fer.data.raw import RawFolder

NAME = "folders of pictures"


def find(raw: RawFolder) -> list[str]:
    """Return the pictures."""
    return raw.pictures


def read(raw: RawFolder, prepare: Prepare) -> DataSet:
    """Read the pictures; their folders are the splits and classes."""
    others = [name for name in raw.heads if not name.lower().endswith(FILE)]
    if others:
        warn(f"files that are no pictures and are not read: {len(others)}, such as {others[0]}")
    if raw.empty_folders:
        count = len(raw.empty_folders)
        warn(f"empty folders, which are no classes: {count}, such as {raw.empty_folders[0]}")
    placed = _split_folders(raw) or _class_folders(raw)
    _check_classes(raw, placed, prepare.split.group)
    labelled = {n: (split, PurePosixPath(folder).name) for n, (split, folder) in placed.items()}
    return read_pictures(raw, labelled, prepare)


def _split_folders(raw: RawFolder) -> dict[str, tuple[str, str]]:
    """Return each picture's split and class folder, if splits contain folders of classes.

    A split is a folder with its very name, or below the folder of all pictures, one with a name
    that contains it, such as "test_set".
    """
    common = PurePosixPath(os.path.commonpath(raw.pictures))
    labelled, roots, outside = {}, defaultdict(set), []
    for name in raw.pictures:
        folders = PurePosixPath(name).parts[:-1]
        splits = [SPLIT_NAMES.get(folder.lower()) for folder in folders]
        for depth in range(len(common.parts), len(folders) - 1):
            splits[depth] = splits[depth] or (None if any(splits) else split_in(folders[depth]))
        if not any(splits):
            outside.append(name)
            continue
        split = next(filter(None, splits))
        depth = splits.index(split)
        while len(folders) > depth + 2 and splits[depth + 1] == split:
            depth += 1  # train/train/happy, as some archives unpack
        if depth + 1 == len(folders):
            raise _no_class(raw, name)
        labelled[name] = (split, "/".join(folders[: depth + 2]))
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
    """Return each picture's class folder, without splits: the first in which the paths differ."""
    paths = {name: PurePosixPath(name).parts for name in raw.pictures}
    common = PurePosixPath(os.path.commonpath(raw.pictures))
    root = min(len(common.parts), min(map(len, paths.values())) - 1)
    if root and all(len(parts) == root + 1 for parts in paths.values()):
        root -= 1  # a single class
    for name, parts in paths.items():
        if len(parts) == root + 1:
            raise _no_class(raw, name)
    folders = {"/".join(parts[: root + 1]) for parts in paths.values()}
    if len(folders) == 1 and (raw.path / common).is_file():  # an archive without folders
        raise _no_class(raw, raw.pictures[0])
    if any((raw.path / folder).is_file() for folder in folders):  # an archive
        raise _copies(raw, folders)
    return {name: (UNSPLIT, "/".join(parts[: root + 1])) for name, parts in paths.items()}


def _check_classes(raw: RawFolder, placed: dict[str, tuple[str, str]], group: str) -> None:
    """Refuse folders of classes that may be splits, or without `prepare.split.group`, persons."""
    inner = defaultdict(set)
    for name, (_, folder) in placed.items():
        inner[folder].add(PurePosixPath(name).relative_to(folder).parent.parts[:1])
    named = [path for path in inner if any(s in path.rpartition("/")[2].lower() for s in SPLITS)]
    first, *others = inner.values()
    is_same = others and len(first) > 1 and others == [first] * len(others)
    same = list(inner) if is_same and group == "none" else []
    if folders := named or same:
        raise FerError(
            f"{raw.path}: {' and '.join(folders[:2])} would be classes, but "
            f"{'have the name of a split in theirs' if named else 'hold the same folders'}; call "
            "splits train, val and test, give each the same folders of classes, and rename others"
        )


def _no_class(raw: RawFolder, name: str) -> FerError:
    return FerError(
        f"{raw.path}: {name} is in no folder of a class; make a folder for each class, two or "
        "more, such as happy/1.jpg and sad/2.jpg"
    )


def _copies(raw: RawFolder, folders: set[str]) -> FerError:
    shown = " and ".join(sorted(folders)[:3])
    return FerError(f"{raw.path}: pictures are in {shown}; keep one of them")
