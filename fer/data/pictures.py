"""Read pictures the way `Recognizer` reads them, so that training and prediction agree."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import cache, partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from fer.core.errors import FerError
from fer.core.faces import FACE_SIZE, Faces
from fer.core.machine import cores
from fer.core.params import Prepare
from fer.data.dataset import DataSet, Dropped, group_by_split
from fer.data.labels import number_labels
from fer.data.raw import RawFolder
from fer.images import reading
from fer.images.detection import Detector, center_square, crop_face

_FEW = 500
"""Number of pictures below which starting processes takes longer than reading."""


def read_pictures(
    raw: RawFolder,
    labelled: Mapping[str, tuple[str, str]],
    prepare: Prepare,
    names: Mapping[str, str] | None = None,
) -> DataSet:
    """Read pictures with their split and label, by the names of their files.

    With `prepare.face` "crop", the central square of each picture is the face. With "detect", it
    is the largest face that the detector finds. `names` are as for `number_labels`.
    """
    files = sorted(labelled)
    splits = [labelled[file][0] for file in files]
    labels, classes = number_labels(raw, [labelled[file][1] for file in files], names)
    images, rows, dropped = _read_faces(raw, files, prepare)
    return group_by_split(
        Faces(images, labels[rows], classes),
        [splits[row] for row in rows],
        [files[row] for row in rows],
        dropped,
        sorted(set(splits)),
    )


def _read_faces(
    raw: RawFolder, names: Sequence[str], prepare: Prepare
) -> tuple[np.ndarray, list[int], list[Dropped]]:
    """Return the faces in pictures, uint8 [M, 48, 48], their indices, and dropped pictures."""
    read = partial(_read_picture, prepare.face, raw.path)
    try:
        with ProcessPoolExecutor(cores()) as pool:  # Python's lock would make threads wait
            run = map if len(names) < _FEW else partial(pool.map, chunksize=64)
            results = run(read, names, map(raw.file, names))
            bar = tqdm(results, total=len(names), desc="reading", unit="picture", disable=None)
            faces = list(bar)
    except BrokenProcessPool as error:
        raise FerError(
            f"{raw.path}: a process that reads pictures was killed, maybe for lack of memory; free "
            "memory, and give the same command again"
        ) from error
    rows = [row for row, face in enumerate(faces) if not isinstance(face, Dropped)]
    dropped = [face for face in faces if isinstance(face, Dropped)]
    unreadable = [face.detail for face in dropped if face.reason == "unreadable"]
    if unreadable and prepare.on_error == "fail":
        advice = "mend or remove it, or skip such pictures with prepare.on_error"
        raise FerError(f"{unreadable[0]} (1 of {len(unreadable)}); {advice}")
    images = np.array([faces[row] for row in rows], np.uint8)
    return images.reshape(-1, FACE_SIZE, FACE_SIZE), rows, dropped


def _read_picture(face: str, folder: Path, name: str, path: Path) -> np.ndarray | Dropped:
    shown = f"{folder}/{name}"
    try:
        pixels = reading.grey(reading.read(path, shown))
    except FerError as error:
        return Dropped(name, "unreadable", f"{shown}: {str(error).removeprefix(f'{shown}: ')}")
    if face == "crop":
        return crop_face(pixels, center_square(pixels))
    boxes = _detector(min_face=1_000_000)(pixels) or _detector()(pixels)  # large ones, or all
    box = max(boxes, key=lambda box: box[2] - box[0], default=None)
    return Dropped(name, "no face found") if box is None else crop_face(pixels, box)


_detector = cache(Detector)
"""The detectors of this process."""
