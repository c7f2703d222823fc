"""A data set in memory: the faces of its splits, their sources, and dropped faces."""

import sys
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from fer.core.errors import FerError
from fer.core.faces import MAX_CLASSES, Faces, is_in

SPLITS = ("train", "val", "test")

UNSPLIT = "unsplit"
"""Name of the only split of a data set that has no splits yet."""

SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev", "publictest"), "val"),
    **dict.fromkeys(("test", "testing", "privatetest"), "test"),
}
"""The split that each name stands for, in lower case: of a folder, or a value in a table."""


def split_in(name: str) -> str | None:
    """Return the split that a name contains, such as "test" for "test_set"; None without one."""
    words = [word for word in SPLIT_NAMES if word in name.lower()]
    return SPLIT_NAMES[max(words, key=len)] if words else None


_FEW = 100
"""Number of val or test faces below which a warning says how coarse the accuracy is."""


@dataclass(frozen=True)
class Dropped:
    """A face that was left out or corrected: its source, and why in a few words and in full."""

    source: str
    reason: str
    detail: str = ""


@dataclass(frozen=True)
class DataSet:
    """The faces of a data set.

    Attributes:
        splits: Faces by split: "train", "val" and "test". A format may leave out val and test, or
            return "unsplit" alone.
        sources: By split, the file ("happy/1.png") or line ("faces.csv:2") of each face.
        dropped: The faces that were left out.
        format: Name of the format.
        corrections: The changes by `fer.data.corrections`.
        groups: By split, the group of each face by `prepare.split.group`; empty without it.
    """

    splits: dict[str, Faces]
    sources: dict[str, list[str]]
    dropped: list[Dropped]
    format: str = ""
    corrections: list[Dropped] = field(default_factory=list)
    groups: dict[str, list[str]] = field(default_factory=dict)

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes."""
        return next(iter(self.splits.values())).classes

    def reasons(self) -> str:
        """Return the numbers of dropped faces per reason, as text."""
        counts = Counter(face.reason for face in self.dropped)
        return ", ".join(f"{count} {reason}" for reason, count in sorted(counts.items()))


def group_by_split(
    faces: Faces,
    splits: Sequence[str],
    sources: Sequence[str],
    dropped: list[Dropped],
    names: Iterable[str],
) -> DataSet:
    """Return the data set of N faces with the split and the source of each.

    `names` are the splits in their order; one whose faces were all dropped has none.
    """
    rows = {name: np.flatnonzero(np.array(splits, str) == name) for name in names}
    return DataSet(
        {name: faces[own] for name, own in rows.items()},
        {name: [sources[row] for row in own] for name, own in rows.items()},
        dropped,
    )


def check_classes(classes: tuple[str, ...], location: str) -> None:
    """Refuse classes of a folder or file that are too many, too similar or cannot be printed."""
    if len(classes) > MAX_CLASSES:
        raise FerError(
            f"{location}: has {len(classes)} classes; at most {MAX_CLASSES} are read, so join some"
        )
    names: dict[str, str] = {}
    for name in classes:
        if not name.isprintable() or len(name) > 100:
            raise FerError(f"{location}: {name[:20]!r} is no name for a class; correct it")
        other = names.setdefault(class_key(name), name)
        if other != name:
            raise FerError(
                f"{location}: the classes {other!r} and {name!r} differ in case or blanks only; "
                "join them"
            )


def class_key(name: str) -> str:
    """Return the name of a class without its case and blanks, to compare it with others."""
    return "".join(unicodedata.normalize("NFKC", name).casefold().split())


def check(data: DataSet, location: str) -> None:
    """Raise a FerError if a data set with all splits cannot be trained on.

    Prints a warning for each class that val or test lacks, and if one of them is small.
    """
    if len(data.classes) < 2:
        raise FerError(
            f"{location}: has one class only, {', '.join(data.classes)}; make a folder for each "
            "class, two or more, such as happy/1.jpg and sad/2.jpg"
        )
    for split, faces in data.splits.items():
        if not len(faces):
            raise FerError(f"{location}: no face is left for {split}; add different ones")
        if split != "train" and is_in(faces, data.splits["train"]).all():
            raise FerError(f"{location}: every face of {split} is also in train; add other ones")
    counts = {split: faces.counts() for split, faces in data.splits.items()}
    for label, name in enumerate(data.classes):
        sources = [
            data.sources[split][row]
            for split, faces in data.splits.items()
            for row in np.flatnonzero(faces.labels == label)
        ]
        if not counts["train"][name] or len(sources) == 1:
            raise FerError(
                f"{location}: class {name} has {len(sources)} faces ({', '.join(sources[:3])}), "
                f"{counts['train'][name]} of them in train; add some to train"
            )
    for split in ("val", "test"):
        missing = [name for name, count in counts[split].items() if not count]
        if missing:
            warn(f"{split} has no face of {', '.join(missing)}")
        size = len(data.splits[split])
        if size < _FEW:
            warn(f"{split} has {size} faces: a single one changes its accuracy by {1 / size:.0%}")


def warn(text: str) -> None:
    """Print a warning to stderr."""
    print(f"warning: {text}", file=sys.stderr)
