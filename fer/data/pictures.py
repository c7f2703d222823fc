"""Read pictures the way `Recognizer` reads them, so that training and prediction agree."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import cache, partial
from io import BytesIO
from pathlib import Path

import numpy as np
from tqdm import tqdm

from fer.core.errors import FerError
from fer.core.faces import FACE_SIZE
from fer.core.machine import cores
from fer.core.params import Prepare
from fer.core.threads import map_in_order
from fer.data.dataset import Dropped
from fer.data.raw import RawFolder
from fer.images import reading
from fer.images.detection import Box, Detector, center_square, crop_face

_CHUNK_PICTURES = 64
"""Largest number of pictures that a process gets at once."""

_CHUNK_BYTES = 4 << 20
"""Size from which a chunk of pictures from an archive goes to a process."""

_FEW = 500
"""Number of pictures below which starting processes would take longer than reading them."""

Source = tuple[int, str, Path | bytes | FerError]
"""Index of a picture in the result, its name, and its file, its content, or why it has none."""


def read(
    raw: RawFolder, names: Sequence[str], prepare: Prepare
) -> tuple[np.ndarray, np.ndarray, list[Dropped]]:
    """Read pictures of any size and mode as grey faces, on all cores.

    Args:
        raw: The files of the data set.
        names: Names of the pictures.
        prepare: With face "crop", the central square of each picture is the face. With "detect",
            it is the largest face that the detector finds.

    Returns:
        The faces, uint8 [M, 48, 48]; the ascending indices of their names, int64 [M]; and the
        dropped pictures.

    Raises:
        FerError: If a picture cannot be read, unless `prepare.on_error` is "skip".
    """
    faces = np.empty((len(names), FACE_SIZE, FACE_SIZE), np.uint8)
    dropped: dict[int, Dropped] = {}
    indices = {name: index for index, name in enumerate(names)}
    sources = ((indices[name], name, source) for name, source in raw.contents(names))
    read_chunk = partial(_read_chunk, prepare.face, str(raw.path))
    with (
        _worker_errors_as_fer_error(raw),
        tqdm(total=len(names), desc="reading", unit="picture", disable=None) as bar,
    ):
        for results in _map_chunks(read_chunk, _chunks(sources), len(names)):
            for index, result in results:
                if isinstance(result, Dropped):
                    _refuse(raw, result, prepare)
                    dropped[index] = result
                else:
                    faces[index] = result
            bar.update(len(results))
    kept = np.array([index not in dropped for index in range(len(names))], bool)
    rows = np.flatnonzero(kept)
    return take_rows_in_place(faces, rows), rows, [dropped[index] for index in sorted(dropped)]


def take_rows_in_place(array: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return some rows of an array in its own memory, without a second copy of all faces.

    Args:
        array: The array; it must not be used afterwards.
        rows: Ascending indices int64 [M].
    """
    for start in range(0, len(rows), 1000):
        part = rows[start : start + 1000]
        array[start : start + len(part)] = array[part]
    return array[: len(rows)]


def _map_chunks(function: Callable, chunks: Iterator[list[Source]], count: int) -> Iterator[list]:
    """Map a function over chunks in processes: Python's lock would make threads wait."""
    if count < _FEW:
        return map(function, chunks)
    return map_in_order(function, chunks, cores(), ProcessPoolExecutor)


@contextmanager
def _worker_errors_as_fer_error(raw: RawFolder) -> Iterator[None]:
    try:
        yield
    except BrokenProcessPool as error:
        raise FerError(
            f"{raw.path}: a process that reads pictures was killed, maybe for lack of memory; free "
            "memory, and give the same command again"
        ) from error


def _refuse(raw: RawFolder, dropped: Dropped, prepare: Prepare) -> None:
    if dropped.reason == "unreadable" and prepare.on_error == "fail":
        raise FerError(
            f"{dropped.detail}; mend or remove it, or skip such pictures with prepare.on_error"
        )


def _chunks(sources: Iterable[Source]) -> Iterator[list[Source]]:
    chunk: list[Source] = []
    size = 0
    for index, name, source in sources:
        chunk.append((index, name, source))
        size += len(source) if isinstance(source, bytes) else 0
        if len(chunk) == _CHUNK_PICTURES or size >= _CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _read_chunk(
    face: str, folder: str, chunk: list[Source]
) -> list[tuple[int, np.ndarray | Dropped]]:
    return [(index, _read_picture(face, name, folder, source)) for index, name, source in chunk]


def _read_picture(
    face: str, name: str, folder: str, source: Path | bytes | FerError
) -> np.ndarray | Dropped:
    shown = f"{folder}/{name}"
    try:
        if isinstance(source, FerError):
            raise source
        file = BytesIO(source) if isinstance(source, bytes) else source
        pixels = reading.grey(reading.read(file, shown))
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
