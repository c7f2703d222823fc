"""Correct the labels that a user found wrong, as listed in the data set's `corrections.csv`."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from fer.core.errors import FerError
from fer.core.params import Prepare
from fer.data.dataset import DataSet, Dropped, class_key, warn
from fer.data.formats.columns import read_header, read_rows
from fer.data.raw import open_raw

FILE = "corrections.csv"
"""A file in the data set's folder with the columns picture and class; no class: leave it out."""


def correct(data: DataSet, folder: Path, prepare: Prepare) -> DataSet:
    """Return a data set with the labels of `corrections.csv`, if the folder has one.

    They are those of the training split; with `prepare.corrections` "all", of every split.
    """
    if not (folder / FILE).is_file():
        return data
    labels = _read(data, folder)
    splits, sources, groups = dict(data.splits), dict(data.sources), dict(data.groups)
    changes = []
    for split in ["train"] if prepare.corrections == "train" else list(splits):
        faces, names = splits[split], sources[split]
        old = faces.labels.tolist()
        new = [labels.pop(name, label) for name, label in zip(names, old, strict=True)]
        changed = [row for row, label in enumerate(new) if label != old[row]]
        kept = np.array([row for row, label in enumerate(new) if label is not None], int)
        soft = None if faces.soft_labels is None else faces.soft_labels.copy()
        for row in changed:
            after = "left out" if new[row] is None else faces.classes[new[row]]
            changes.append(Dropped(names[row], "correction", f"{faces.classes[old[row]]}: {after}"))
            if soft is not None and new[row] is not None:
                soft[row] = np.arange(len(faces.classes)) == new[row]
        relabelled = np.array([label or 0 for label in new], np.uint8)
        splits[split] = replace(faces, labels=relabelled, soft_labels=soft)[kept]
        sources[split] = [names[row] for row in kept]
        groups |= {split: [groups[split][row] for row in kept]} if groups else {}
    print(f"{folder / FILE}: corrections: {len(changes)}; listed in dropped.csv", flush=True)
    if labels:
        warn(
            f"{folder / FILE}: pictures that keep their label, because they are not in train: "
            f"{len(labels)}, such as {min(labels)}; set prepare.corrections to all to correct them"
        )
    return replace(data, splits=splits, sources=sources, groups=groups, corrections=changes)


def _read(data: DataSet, folder: Path) -> dict[str, int | None]:
    """Return the corrected label of each picture, or None for one to leave out."""
    pictures = {name for names in data.sources.values() for name in names}
    indices: dict[str, int | None] = {class_key(name): i for i, name in enumerate(data.classes)}
    indices[""] = None
    labels: dict[str, int | None] = {}
    with open_raw(folder / FILE) as raw:
        if not {"picture", "class"} <= set(read_header(raw.heads[FILE])[0]):
            raise FerError(f"{folder / FILE}: has no columns picture and class; add this header")
        for location, row in read_rows(raw, FILE):
            picture, key = row["picture"], class_key(row["class"])
            if picture not in pictures:
                raise FerError(f"{location}: there is no picture {picture!r}; correct the line")
            if picture in labels:
                raise FerError(f"{location}: lists {picture!r} again; keep one of the lines")
            if key not in indices:
                raise FerError(
                    f"{location}: there is no class {row['class']!r}; write one of "
                    f"{', '.join(data.classes)}, or none to leave the picture out"
                )
            labels[picture] = indices[key]
    return labels
