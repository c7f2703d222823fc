"""Frames of a video or a camera, in and out."""

import os
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


class Video:
    """The frames of a file, or of the first camera.

    frames: how many there are, 0 where that is not known

    Raises FerError where there is no such video or camera.
    """

    def __init__(self, path: Path | None) -> None:
        if path is not None and not path.is_file():
            raise FerError(f"{path}: no such file")
        self.capture = cv2.VideoCapture(str(path) if path is not None else 0)
        if not self.capture.isOpened():
            raise FerError(f"{path}: is not a video" if path is not None else "there is no camera")
        self.rate: float = self.capture.get(cv2.CAP_PROP_FPS) or 25.0
        self.frames = max(0, int(self.capture.get(cv2.CAP_PROP_FRAME_COUNT)))

    def __iter__(self) -> Iterator[Image.Image]:
        try:
            while True:
                there, frame = self.capture.read()
                if not there:
                    return
                yield Image.fromarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
        finally:
            self.capture.release()


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
    """Takes frames."""

    def __init__(self, path: Path, rate: float) -> None:
        self.path, self.rate = path, rate
        self.file: cv2.VideoWriter | None = None

    def write(self, frame: Image.Image) -> None:
        """Add a frame."""
        if self.file is None:
            code = cv2.VideoWriter.fourcc(*"mp4v")
            self.file = cv2.VideoWriter(str(self.path), code, self.rate, frame.size)
        self.file.write(cv2.cvtColor(np.asarray(frame), cv2.COLOR_RGB2BGR))

    def close(self) -> None:
        """Finish the file."""
        if self.file is None:
            raise FerError("the video has no frames")
        self.file.release()
