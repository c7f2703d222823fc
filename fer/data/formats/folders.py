"""Folders of pictures: `<split>/<class>/*` or `<class>/*`, at any depth."""

import unicodedata
from collections import defaultdict
from pathlib import PurePosixPath

from fer.data.dataset import DataSet, warn
from fer.data.formats.listing import Picture, read_pictures
from fer.data.labels import class_names
from fer.data.raw import RawFolder
from fer.errors import FerError
from fer.params import Prepare

NAME = "folders of pictures"

SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""What the folders of the splits are called, in lower case, and our name of each."""


def recognizes(raw: RawFolder) -> bool:
    """Whether there are pictures."""
    return bool(raw.pictures)


def read(raw: RawFolder, prepare: Prepare) -> DataSet:
    """Read the pictures by the folders that they lie in.

    Raises:
        FerError: Where the folders do not tell the class of each picture.
    """
    _warn_of_other_files(raw)
    placed = _split_folders(raw) or _class_folders(raw)
    _refuse_yolo(raw, placed)
    names = class_names(raw, {label for _, label in placed.values()})
    return read_pictures(
        raw,
        [Picture(file, names[label], split) for file, (split, label) in placed.items()],
        prepare,
        list(names.values()),
    )


def _split_folders(raw: RawFolder) -> dict[str, tuple[str, str]]:
    """Split and class of each picture, where folders of splits lie above those of classes."""
    placed, roots, outside = {}, defaultdict(set), []
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
                f"{raw.path}: {name} lies in no class's folder; the layout is "
                f"{folders[depth]}/<class>/<picture>"
            )
        placed[name] = (split, unicodedata.normalize("NFC", folders[depth + 1]))
        roots[split].add("/".join(folders[: depth + 1]))
    if placed and outside:
        raise FerError(
            f"{raw.path}: {outside[0]} lies in no split, but others lie in train, val or test; "
            "move it into one"
        )
    _refuse_copies(raw, roots)
    return placed


def _refuse_copies(raw: RawFolder, roots: dict[str, set[str]]) -> None:
    for split, places in roots.items():
        if len(places) > 1:
            shown = " and ".join(sorted(places)[:3])
            raise FerError(f"{raw.path}: {split} lies in {shown}; leave one of them")


def _class_folders(raw: RawFolder) -> dict[str, tuple[str, str]]:
    """Class of each picture, where there are no splits: the folder below the one of them all."""
    parts = {name: PurePosixPath(name).parts for name in raw.pictures}
    root = 0
    while len({own[root] for own in parts.values()}) == 1:
        root += 1
        if any(len(own) <= root for own in parts.values()):
            break
    shallow = [name for name, own in parts.items() if len(own) <= root + 1]
    if len(shallow) == len(parts):
        place = "/".join(next(iter(parts.values()))[:-1]) or "the folder itself"
        raise FerError(
            f"{raw.path}: all pictures lie in {place}; the layout is a folder for each class, two "
            "or more, such as happy/1.jpg and sad/2.jpg"
        )
    if shallow:
        raise FerError(f"{raw.path}: {shallow[0]} lies in no class's folder; move it into one")
    places = {"/".join(own[: root + 1]) for own in parts.values()}
    if places & raw.archives:
        shown = " and ".join(sorted(places)[:3])
        raise FerError(f"{raw.path}: pictures lie in {shown}; leave one of them")
    return {name: ("", unicodedata.normalize("NFC", own[root])) for name, own in parts.items()}


def _refuse_yolo(raw: RawFolder, placed: dict[str, tuple[str, str]]) -> None:
    if {label.lower() for _, label in placed.values()} == {"images"}:
        raise FerError(
            f"{raw.path}: is in YOLO's layout, images with boxes in labels; the layout that is "
            "read is a folder for each class, such as train/happy/1.jpg"
        )


def _warn_of_other_files(raw: RawFolder) -> None:
    others = [name for name in raw.others() if not name.lower().endswith("classes.txt")]
    if others:
        warn(f"files that are no pictures, and are not read: {len(others)}, such as {others[0]}")
