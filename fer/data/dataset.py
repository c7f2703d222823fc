"""A data set in memory: the faces of its splits, where each is from, and what was left out."""

import sys
import unicodedata
from collections import Counter, defaultdict
from dataclasses import dataclass, replace

import numpy as np

from fer.errors import FerError
from fer.faces import MOST_CLASSES, Faces, digests, is_in

_FEW = 100
"""Faces of val or test under which accuracies are hardly more than guesses."""

UNSPLIT = "unsplit"
"""Name of the one split that a format gives where a data set has none."""


@dataclass(frozen=True)
class Dropped:
    """A face that was left out.

    Attributes:
        source: Where it is from, as in `DataSet.sources`.
        reason: In a few words, by which such faces are counted.
        detail: The whole message, where there is more to say.
    """

    source: str
    reason: str
    detail: str = ""


@dataclass(frozen=True)
class DataSet:
    """The faces of a data set.

    Attributes:
        splits: Faces by split: "train", "val" and "test". A format may leave val and test out, or
            give "unsplit" alone.
        sources: Of each face of a split, its file ("happy/1.png") or its line ("faces.csv:2").
        dropped: What was left out.
        format: What the data set was recognized as.
    """

    splits: dict[str, Faces]
    sources: dict[str, list[str]]
    dropped: list[Dropped]
    format: str = ""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""
        return next(iter(self.splits.values())).classes

    def reasons(self) -> str:
        """Why faces were left out, and how many for each reason."""
        counts = Counter(one.reason for one in self.dropped)
        return ", ".join(f"{count} {reason}" for reason, count in sorted(counts.items()))

    def named(self, name: str) -> "DataSet":
        """The same with the name of its format."""
        return replace(self, format=name)


def check_classes(classes: tuple[str, ...], place: str) -> None:
    """Raise FerError where two names are as good as the same, or their number is not 2 to 256."""
    if len(classes) < 2:
        raise FerError(
            f"{place}: has the class {', '.join(classes)} alone; a second one is needed to tell "
            "it from"
        )
    if len(classes) > MOST_CLASSES:
        raise FerError(f"{place}: has {len(classes)} classes, and at most {MOST_CLASSES} are read")
    alike = defaultdict(list)
    for name in classes:
        if not name.isprintable():
            raise FerError(f"{place}: the class {name!r} has a character that cannot be printed")
        alike["".join(unicodedata.normalize("NFKC", name).casefold().split())].append(name)
    for names in alike.values():
        if len(names) > 1:
            shown = " and ".join(map(repr, names))
            raise FerError(f"{place}: the classes {shown} differ in case or blanks only; join them")


def check(data: DataSet, place: str) -> None:
    """Check that a data set with all its splits can be trained on.

    Prints a warning for each class that val or test lacks, and where one of them is small.

    Raises:
        FerError: Where a split is empty, or a class has no training face or a single face.
    """
    for split, faces in data.splits.items():
        if not len(faces):
            raise FerError(f"{place}: no face is left for {split}; add some different ones")
        if split != "train" and is_in(faces, data.splits["train"]).all():
            raise FerError(f"{place}: every face of {split} is in train too; add some others")
    counts = {
        split: np.bincount(faces.labels, minlength=len(data.classes))
        for split, faces in data.splits.items()
    }
    for label, name in enumerate(data.classes):
        if sum(count[label] for count in counts.values()) == 1:
            (source,) = (
                data.sources[split][np.flatnonzero(faces.labels == label)[0]]
                for split, faces in data.splits.items()
                if counts[split][label]
            )
            raise FerError(
                f"{place}: class {name} has one face ({source}); each class needs two or more"
            )
        if not counts["train"][label]:
            raise FerError(f"{place}: class {name} has no training face; add some to train")
    for split in ("val", "test"):
        missing = [n for n, count in zip(data.classes, counts[split], strict=True) if not count]
        if missing:
            warn(f"{split} has no face of {', '.join(missing)}")
        size = len(data.splits[split])
        if size < _FEW:
            warn(f"{split} has {size} faces: a single one changes its accuracy by {1 / size:.0%}")


def warn_of_contradictions(data: DataSet) -> None:
    """Print a warning with the number of pictures that stand in several classes."""
    labels = defaultdict(set)
    for faces in data.splits.values():
        for digest, label in zip(digests(faces), faces.labels.tolist(), strict=True):
            labels[digest].add(label)
    count = sum(len(found) > 1 for found in labels.values())
    if count:
        warn(f"pictures that stand in two classes or more: {count}")


def warn(text: str) -> None:
    """Print a warning."""
    print(f"warning: {text}", file=sys.stderr)
