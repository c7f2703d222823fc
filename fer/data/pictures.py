"""Read pictures as `fer.predict.Recognizer` does, so that training sees what it will see."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import cache, partial
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
from fer.predict.detection import Box, Detector, cut, middle
from fer.predict.threads import cores, in_order

_CHUNK = 64
"""Pictures that a process reads in one go ..."""

_BYTES = 4 << 20
"""... or as many as have so many bytes in an archive."""

_FEW = 500
"""Pictures that are read here, as starting processes would take longer."""

Source = tuple[int, str, Path | bytes | FerError]
"""A picture's place in the result, its name, and its file, its content or why there is none."""


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
    sources = ((places[name], name, source) for name, source in raw.contents(names))
    work = partial(_read_chunk, prepare.face, str(raw.path))
    with (
        _workers_told_in_a_line(raw),
        tqdm(total=len(names), desc="reading", unit="picture", disable=None) as bar,
    ):
        for results in _spread(work, _chunks(sources), len(names)):
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


def _spread(work: Callable, chunks: Iterator[list[Source]], count: int) -> Iterator[list]:
    """As `map`, by all cores; small pictures are mostly Python, which threads do not share."""
    if count < _FEW:
        return map(work, chunks)
    return in_order(work, chunks, cores(), ProcessPoolExecutor)


@contextmanager
def _workers_told_in_a_line(raw: RawFolder) -> Iterator[None]:
    try:
        yield
    except BrokenProcessPool as error:
        raise FerError(
            f"{raw.path}: a process that reads pictures was killed, maybe for lack of memory; free "
            "some, and give the same command again"
        ) from error


def _refuse(raw: RawFolder, dropped: Dropped, prepare: Prepare) -> None:
    if dropped.reason == "unreadable" and prepare.on_bad_row == "fail":
        raise FerError(
            f"{dropped.detail}; mend or remove it, or skip such pictures with prepare.on_bad_row"
        )


def _chunks(sources: Iterable[Source]) -> Iterator[list[Source]]:
    chunk: list[Source] = []
    size = 0
    for place, name, source in sources:
        chunk.append((place, name, source))
        size += len(source) if isinstance(source, bytes) else 0
        if len(chunk) == _CHUNK or size >= _BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _read_chunk(
    face: str, folder: str, chunk: list[Source]
) -> list[tuple[int, np.ndarray | Dropped]]:
    return [(place, _read_one(face, name, folder, source)) for place, name, source in chunk]


def _read_one(
    face: str, name: str, folder: str, source: Path | bytes | FerError
) -> np.ndarray | Dropped:
    shown = f"{folder}/{name}"
    try:
        if isinstance(source, FerError):
            raise source
        file = BytesIO(source) if isinstance(source, bytes) else source
        pixels = images.grey(images.read(file, shown))
    except FerError as error:
        message = str(error)
        detail = message if message.startswith(shown) else f"{shown}: {message}"
        return Dropped(name, "unreadable", detail)
    box = middle(pixels) if face == "crop" else _largest(pixels)
    return Dropped(name, "no face found") if box is None else cut(pixels, box)


def _largest(pixels: np.ndarray) -> Box | None:
    """The largest face that the detector finds in uint8 [H, W]."""
    return max(_detector()(pixels), key=lambda box: box[2] - box[0], default=None)


@cache
def _detector() -> Detector:
    """One for each process."""
    return Detector()
