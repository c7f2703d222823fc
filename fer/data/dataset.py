"""A data set in memory: the faces of its splits, their sources, and dropped faces."""

import sys
import unicodedata
from collections import Counter, defaultdict
from dataclasses import dataclass, replace

import numpy as np

from fer.core.errors import FerError
from fer.core.faces import MAX_CLASSES, Faces, digests, is_in

_FEW = 100
"""Number of val or test faces below which a warning says how coarse the accuracy is."""

UNSPLIT = "unsplit"
"""Name of the only split of a data set that has no splits yet."""


@dataclass(frozen=True)
class Dropped:
    """A face that was left out.

    Attributes:
        source: Its source, as in `DataSet.sources`.
        reason: A few words, by which dropped faces are counted.
        detail: The whole message, where there is one.
    """

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
    """

    splits: dict[str, Faces]
    sources: dict[str, list[str]]
    dropped: list[Dropped]
    format: str = ""

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes."""
        return next(iter(self.splits.values())).classes

    def reasons(self) -> str:
        """Return the numbers of dropped faces per reason, as text."""
        counts = Counter(face.reason for face in self.dropped)
        return ", ".join(f"{count} {reason}" for reason, count in sorted(counts.items()))

    def with_format(self, name: str) -> "DataSet":
        """Return a copy with the name of its format.

        Args:
            name: Name of the format.
        """
        return replace(self, format=name)


def check_classes(classes: tuple[str, ...], location: str) -> None:
    """Check the names of the classes.

    Args:
        classes: The names.
        location: The folder or file that they come from, for errors.

    Raises:
        FerError: If there are more than 256 classes, a name cannot be printed, or two names differ
            in case or blanks only.
    """
    if len(classes) > MAX_CLASSES:
        raise FerError(
            f"{location}: has {len(classes)} classes; at most {MAX_CLASSES} are read, so join some"
        )
    similar = defaultdict(list)
    for name in classes:
        if not name.isprintable():
            raise FerError(
                f"{location}: the class {name!r} has a character that cannot be printed; rename it"
            )
        similar[class_key(name)].append(name)
    for names in similar.values():
        if len(names) > 1:
            shown = " and ".join(map(repr, names))
            raise FerError(
                f"{location}: the classes {shown} differ in case or blanks only; join them"
            )


def class_key(name: str) -> str:
    """Return the name of a class without its case and blanks, to compare it with others.

    Args:
        name: The name.
    """
    return "".join(unicodedata.normalize("NFKC", name).casefold().split())


def check(data: DataSet, location: str) -> None:
    """Check that a data set with all splits can be trained on.

    Prints a warning for each class that val or test lacks, and if one of them is small.

    Args:
        data: The data set.
        location: Its folder, for errors.

    Raises:
        FerError: If there is one class only, a split is empty, or a class has no training face or
            a single face.
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
    counts = {
        split: np.bincount(faces.labels, minlength=len(data.classes))
        for split, faces in data.splits.items()
    }
    for label, name in enumerate(data.classes):
        total = sum(count[label] for count in counts.values())
        if counts["train"][label] and total > 1:
            continue
        split = next(split for split, count in counts.items() if count[label])
        source = data.sources[split][np.flatnonzero(data.splits[split].labels == label)[0]]
        if total == 1:
            raise FerError(
                f"{location}: class {name} has one face only ({source}); add another one"
            )
        raise FerError(
            f"{location}: class {name} is in {split} ({source}), but not in train; add some to "
            "train"
        )
    for split in ("val", "test"):
        missing = [n for n, count in zip(data.classes, counts[split], strict=True) if not count]
        if missing:
            warn(f"{split} has no face of {', '.join(missing)}")
        size = len(data.splits[split])
        if size < _FEW:
            warn(f"{split} has {size} faces: a single one changes its accuracy by {1 / size:.0%}")


def warn_of_contradictions(data: DataSet) -> None:
    """Print a warning with the number of pictures that are in several classes.

    Args:
        data: The data set.
    """
    labels = defaultdict(set)
    for faces in data.splits.values():
        for digest, label in zip(digests(faces), faces.labels.tolist(), strict=True):
            labels[digest].add(label)
    count = sum(len(classes) > 1 for classes in labels.values())
    if count:
        warn(f"pictures that are in several classes: {count}")


def warn(text: str) -> None:
    """Print a warning to stderr.

    Args:
        text: The warning.
    """
    print(f"warning: {text}", file=sys.stderr)
