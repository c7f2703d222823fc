"""Frames of a video or a camera, in and out."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Before OpenCV is loaded: our error says it in one line.
os.environ.setdefault("OPENCV_LOG_LEVEL", "OFF")
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")

import cv2
import numpy as np
from PIL import Image

from fer.errors import FerError
from fer.files import atomic_path

_TEXT = cv2.VideoWriter.fourcc(*"ansi")
"""The codec by which FFmpeg plays any text."""


class Video:
    """The frames of a file, or of the first camera, and the second at which each is.

    rate: frames a second

    Raises FerError where there is no such video or camera, and at the end of a file of which a part
    could not be read.
    """

    def __init__(self, path: Path | None) -> None:
        if path is not None and not os.path.isfile(path):
            raise FerError(f"{path}: no such file")
        self.path = path
        self.capture = cv2.VideoCapture(str(path) if path is not None else 0)
        if not self.capture.isOpened() or self.capture.get(cv2.CAP_PROP_FOURCC) == _TEXT:
            raise FerError(f"{path}: is not a video" if path is not None else "there is no camera")
        self.rate: float = self.capture.get(cv2.CAP_PROP_FPS) or 25.0
        self.frames = max(0.0, self.capture.get(cv2.CAP_PROP_FRAME_COUNT))

    def __iter__(self) -> Iterator[tuple[float, Image.Image]]:
        start, seconds = time.monotonic(), -1 / self.rate
        try:
            while True:
                there, frame = self.capture.read()
                if not there:
                    break
                if self.path:
                    seconds = max(seconds, self.capture.get(cv2.CAP_PROP_POS_MSEC) / 1000)
                else:
                    seconds = time.monotonic() - start
                yield seconds, Image.fromarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
        finally:
            self.capture.release()
        if self.path:
            self._check_end(seconds + 1 / self.rate)
        else:
            raise FerError("the camera gives no more frames")

    def _check_end(self, seconds: float) -> None:
        """Raise FerError where more was announced; some containers round, or count sound too."""
        announced = self.frames / self.rate
        if seconds <= 0 or announced - seconds > 0.05 * announced + 2 / self.rate:
            raise FerError(
                f"{self.path}: is damaged: {max(0, seconds):.2f} of {announced:.2f} s can be read"
            )


@contextmanager
def writer(path: Path, rate: float) -> Iterator["Writer"]:
    """An MP4 file, written whole; frames in RGB, all of the size of the first, `rate` a second."""
    if path.suffix.lower() != ".mp4":
        raise FerError(f"{path}: a video is written as .mp4")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FerError(f"{path}: cannot be written: {error.strerror}") from error
    with atomic_path(path) as temporary:
        file = Writer(temporary, rate)
        yield file
        file.close()


class Writer:
    """Takes frames. Raises FerError where OpenCV cannot write them."""

    def __init__(self, path: Path, rate: float) -> None:
        self.path, self.rate = path, rate
        self.file: cv2.VideoWriter | None = None

    def write(self, frame: Image.Image) -> None:
        """Add a frame."""
        if self.file is None:
            code = cv2.VideoWriter.fourcc(*"mp4v")
            self.file = cv2.VideoWriter(str(self.path), code, self.rate, frame.size)
            if not self.file.isOpened():
                raise FerError(f"{self.path.name}: OpenCV cannot write a video of {frame.size}")
        self.file.write(cv2.cvtColor(np.asarray(frame), cv2.COLOR_RGB2BGR))

    def close(self) -> None:
        """Finish the file."""
        if self.file is None:
            raise FerError("the video has no frames")
        self.file.release()
