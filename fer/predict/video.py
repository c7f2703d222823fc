"""Read the frames of a video or a camera, and write videos."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Set before OpenCV is loaded: errors here say the same in one line.
os.environ.setdefault("OPENCV_LOG_LEVEL", "OFF")
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")

import cv2
import numpy as np
from PIL import Image

from fer.errors import FerError
from fer.files import atomic_path

_TEXT = cv2.VideoWriter.fourcc(*"ansi")
"""The codec with which FFmpeg plays any text file."""


class Video:
    """Iterate over the frames of a video: their time in seconds, and the image.

    Args:
        path: The video file; None opens the first camera.

    Attributes:
        rate: Frames per second.

    Raises:
        FerError: If there is no such video or camera. While iterating: if a part of the file cannot
            be read.
    """

    def __init__(self, path: Path | None) -> None:
        if path is not None and not os.path.isfile(path):
            raise FerError(f"{path}: no such file; check the name")
        self.path = path
        self.capture = cv2.VideoCapture(str(path) if path is not None else 0)
        if not self.capture.isOpened() or self.capture.get(cv2.CAP_PROP_FOURCC) == _TEXT:
            raise FerError(
                f"{path}: is not a video that OpenCV can read; convert it to MP4"
                if path is not None
                else "--webcam: there is no camera; connect one"
            )
        self.rate: float = self.capture.get(cv2.CAP_PROP_FPS) or 25.0
        self.frames = max(0.0, self.capture.get(cv2.CAP_PROP_FRAME_COUNT))

    def __iter__(self) -> Iterator[tuple[float, Image.Image]]:
        start, seconds = time.monotonic(), -1 / self.rate
        try:
            while True:
                has_frame, frame = self.capture.read()
                if not has_frame:
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
            raise FerError("--webcam: the camera gives no more frames; connect it again")

    def _check_end(self, seconds: float) -> None:
        """Raise FerError if the container announced a longer video.

        The tolerance is there because some containers round, or count the sound too.
        """
        announced = self.frames / self.rate
        if seconds <= 0 or announced - seconds > 0.05 * announced + 2 / self.rate:
            raise FerError(
                f"{self.path}: is damaged: {max(0, seconds):.2f} of {announced:.2f} s can be read; "
                "get it again"
            )


@contextmanager
def writer(path: Path, rate: float) -> Iterator["Writer"]:
    """Write an MP4 file in the block; it appears only when it is complete.

    Args:
        path: The file, with the suffix .mp4.
        rate: Frames per second.

    Raises:
        FerError: If the name has another suffix, or the file cannot be written.
    """
    if path.suffix.lower() != ".mp4":
        raise FerError(f"{path}: is no name for a video; use the suffix .mp4")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FerError(f"{path}: cannot be written: {error.strerror}") from error
    with atomic_path(path) as temporary:
        file = Writer(temporary, rate)
        yield file
        file.close()


class Writer:
    """Write frames to a video file with OpenCV.

    Args:
        path: The file.
        rate: Frames per second.
    """

    def __init__(self, path: Path, rate: float) -> None:
        self.path, self.rate = path, rate
        self.file: cv2.VideoWriter | None = None

    def write(self, frame: Image.Image) -> None:
        """Add a frame.

        Args:
            frame: The frame in RGB, of the size of the first one.

        Raises:
            FerError: If OpenCV cannot write a video of this size.
        """
        if self.file is None:
            code = cv2.VideoWriter.fourcc(*"mp4v")
            self.file = cv2.VideoWriter(str(self.path), code, self.rate, frame.size)
            if not self.file.isOpened():
                width, height = frame.size
                raise FerError(
                    f"{self.path.name}: OpenCV cannot write frames of {width}x{height}; scale the "
                    "video down"
                )
        self.file.write(cv2.cvtColor(np.asarray(frame), cv2.COLOR_RGB2BGR))

    def close(self) -> None:
        """Finish the file.

        Raises:
            FerError: If no frame was written.
        """
        if self.file is None:
            raise FerError(f"{self.path.name}: the video has no frames; check the input")
        self.file.release()
