"""Read pictures the way `Recognizer` reads them, so that training and prediction agree."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import cache, partial
from itertools import chain
from pathlib import Path

import numpy as np
from tqdm import tqdm

from fer.core.errors import FerError
from fer.core.faces import FACE_SIZE, Faces
from fer.core.machine import cores
from fer.core.params import Prepare
from fer.core.threads import map_in_order
from fer.data.dataset import UNSPLIT, DataSet, Dropped, check_classes
from fer.data.raw import RawFolder
from fer.images import reading
from fer.images.detection import Box, Detector, center_square, crop_face

_CHUNK_PICTURES = 64
"""Largest number of pictures that a process gets at once."""

_FEW = 500
"""Number of pictures below which starting processes would take longer than reading them."""


def read_pictures(
    raw: RawFolder,
    labelled: Mapping[str, tuple[str, str]],
    prepare: Prepare,
    classes: Sequence[str],
) -> DataSet:
    """Read pictures with their split ("" without splits) and class, by the names of their files.

    With `prepare.face` "crop", the central square of each picture is the face. With "detect", it
    is the largest face that the detector finds. `classes` are in the order of the labels.

    Raises:
        FerError: If two names of classes are too similar, or a picture cannot be read.
    """
    check_classes(tuple(classes), str(raw.path))
    by_split = defaultdict(list)
    for file, (split, _) in sorted(labelled.items()):
        by_split[split or UNSPLIT].append(file)
    numbers = {name: number for number, name in enumerate(classes)}
    splits: dict[str, Faces] = {}
    sources: dict[str, list[str]] = {}
    dropped: list[Dropped] = []
    for split, files in sorted(by_split.items()):
        images, rows, split_dropped = _read_faces(raw, files, prepare)
        sources[split] = [files[row] for row in rows]
        labels = np.array([numbers[labelled[file][1]] for file in sources[split]], np.uint8)
        splits[split] = Faces(images, labels, tuple(classes))
        dropped += split_dropped
    return DataSet(splits, sources, dropped)


def _read_faces(
    raw: RawFolder, names: Sequence[str], prepare: Prepare
) -> tuple[np.ndarray, list[int], list[Dropped]]:
    """Read pictures of any size and mode as grey faces, on all cores.

    Returns:
        The faces, uint8 [M, 48, 48]; the ascending indices of their names; and the dropped
        pictures.
    """
    faces = np.empty((len(names), FACE_SIZE, FACE_SIZE), np.uint8)
    rows, dropped = [], []
    chunks = (
        [(name, raw.file(name)) for name in names[start : start + _CHUNK_PICTURES]]
        for start in range(0, len(names), _CHUNK_PICTURES)
    )
    read_chunk = partial(_read_chunk, prepare.face, raw.path)
    if len(names) < _FEW:
        results = map(read_chunk, chunks)
    else:  # processes, because Python's lock would make threads wait
        results = map_in_order(read_chunk, chunks, cores(), ProcessPoolExecutor)
    bar = tqdm(
        chain.from_iterable(results),
        total=len(names),
        desc="reading",
        unit="picture",
        disable=None,
    )
    try:
        for row, result in enumerate(bar):
            if isinstance(result, Dropped):
                _refuse(result, prepare)
                dropped.append(result)
            else:
                faces[len(rows)] = result
                rows.append(row)
    except BrokenProcessPool as error:
        raise FerError(
            f"{raw.path}: a process that reads pictures was killed, maybe for lack of memory; free "
            "memory, and give the same command again"
        ) from error
    return faces[: len(rows)], rows, dropped


def _refuse(dropped: Dropped, prepare: Prepare) -> None:
    if dropped.reason == "unreadable" and prepare.on_error == "fail":
        raise FerError(
            f"{dropped.detail}; mend or remove it, or skip such pictures with prepare.on_error"
        )


def _read_chunk(
    face: str, folder: Path, chunk: list[tuple[str, Path]]
) -> list[np.ndarray | Dropped]:
    return [_read_picture(face, name, path, f"{folder}/{name}") for name, path in chunk]


def _read_picture(face: str, name: str, path: Path, shown: str) -> np.ndarray | Dropped:
    try:
        pixels = reading.grey(reading.read(path, shown))
    except FerError as error:
        message = str(error)
        detail = message if message.startswith(shown) else f"{shown}: {message}"
        return Dropped(name, "unreadable", detail)
    box = center_square(pixels) if face == "crop" else _largest_face(pixels)
    return Dropped(name, "no face found") if box is None else crop_face(pixels, box)


def _largest_face(pixels: np.ndarray) -> Box | None:
    """Return the largest detected face in uint8 [H, W]."""
    large, every = _detectors()
    return max(large(pixels) or every(pixels), key=lambda box: box[2] - box[0], default=None)


@cache
def _detectors() -> tuple[Detector, Detector]:
    """Return the detectors of this process: for large faces only, and for all."""
    return Detector(min_face=1_000_000), Detector()
