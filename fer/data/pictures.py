"""Read pictures as `fer.predict.Recognizer` does, so that training sees what it will see."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from io import BytesIO
from pathlib import Path

import numpy as np
from tqdm import tqdm

from fer.data.dataset import Dropped
from fer.data.raw import RawFolder
from fer.errors import FerError
from fer.faces import FACE_SIZE
from fer.params import Prepare
from fer.predict import images
from fer.predict.detection import Detector, cut, middle
from fer.predict.threads import cores, in_order

_CHUNK = 64
"""Pictures that a thread reads in one go ..."""

_BYTES = 4 << 20
"""... or as many as have so many bytes in an archive."""

Source = tuple[int, Path | bytes]
"""The place of a picture in the result, and its file or content."""


def read(
    raw: RawFolder, names: Sequence[str], prepare: Prepare
) -> tuple[np.ndarray, np.ndarray, list[Dropped]]:
    """Read pictures of any size and mode as grey faces, by all cores.

    Args:
        raw: The files of the data set.
        names: Names of the pictures in it.
        prepare: With face "crop", the largest square in the middle of each is the face. With
            "detect" it is the largest face that the detector finds.

    Returns:
        The faces, uint8 [M, 48, 48]; the indices of their `names`, ascending, int64 [M]; and the
        pictures that were left out.

    Raises:
        FerError: For a picture that cannot be read, unless `prepare.on_bad_row` is "skip".
    """
    faces = np.empty((len(names), FACE_SIZE, FACE_SIZE), np.uint8)
    dropped: dict[int, Dropped] = {}
    places = {name: place for place, name in enumerate(names)}
    sources = ((places[name], source) for name, source in raw.contents(names))
    work = partial(_read_chunk, _find_box(prepare.face), names, str(raw.path))
    with tqdm(total=len(names), desc="reading", unit="picture", disable=None) as bar:
        for results in in_order(work, _chunks(sources), cores()):
            for place, result in results:
                if isinstance(result, Dropped):
                    _refuse(raw, result, prepare)
                    dropped[place] = result
                else:
                    faces[place] = result
            bar.update(len(results))
    kept = np.array([place not in dropped for place in range(len(names))], bool)
    rows = np.flatnonzero(kept)
    return keep_rows(faces, rows), rows, [dropped[place] for place in sorted(dropped)]


def keep_rows(array: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The `rows` (ascending, [M]) of an array, in its own memory: no second copy of all faces."""
    for start in range(0, len(rows), 1000):
        some = rows[start : start + 1000]
        array[start : start + len(some)] = array[some]
    return array[: len(rows)]


def _refuse(raw: RawFolder, dropped: Dropped, prepare: Prepare) -> None:
    if dropped.reason == "unreadable" and prepare.on_bad_row == "fail":
        raise FerError(
            f"{dropped.detail}; mend or remove it, or skip such pictures with prepare.on_bad_row"
        )


def _chunks(sources: Iterable[Source]) -> Iterator[list[Source]]:
    chunk: list[Source] = []
    size = 0
    for place, source in sources:
        chunk.append((place, source))
        size += len(source) if isinstance(source, bytes) else 0
        if len(chunk) == _CHUNK or size >= _BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


FindBox = Callable[[np.ndarray], Sequence[int] | None]


def _find_box(face: str) -> FindBox:
    """What finds the face in grey pixels: the middle, or the detector's largest box."""
    if face == "crop":
        return middle
    detector = Detector()

    def largest(pixels: np.ndarray) -> Sequence[int] | None:
        return max(detector(pixels), key=lambda box: box[2] - box[0], default=None)

    return largest


def _read_chunk(
    find_box: FindBox, names: Sequence[str], folder: str, chunk: list[Source]
) -> list[tuple[int, np.ndarray | Dropped]]:
    return [(place, _read_one(find_box, names[place], folder, source)) for place, source in chunk]


def _read_one(
    find_box: FindBox, name: str, folder: str, source: Path | bytes
) -> np.ndarray | Dropped:
    shown = f"{folder}/{name}"
    try:
        file = BytesIO(source) if isinstance(source, bytes) else source
        pixels = images.grey(images.read(file, shown))
    except FerError as error:
        message = str(error)
        detail = message if message.startswith(shown) else f"{shown}: {message}"
        return Dropped(name, "unreadable", detail)
    box = find_box(pixels)
    return Dropped(name, "no face found") if box is None else cut(pixels, box)
