"""Write videos that browsers play: H.264 in MP4, with the sound of another video."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image, ImageOps

from fer.core.errors import FerError
from fer.core.files import atomic_path
from fer.video.reader import ffmpeg_path

_TIME_BASE = Fraction(1, 90_000)
"""Unit of the times in seconds; that of MPEG, a multiple of the usual frame rates."""

_ENCODER_OPTIONS = {"preset": "veryfast", "crf": "20"}
"""Of x264: the drawing shares the cores with the prediction."""


@contextmanager
def open_writer(path: Path, rate: float, sound: Path | None = None) -> Iterator["VideoWriter"]:
    """Write an MP4 file in the block; it appears only when it is complete.

    `rate` is in frames per second. The sound of the video `sound` is added, if it can be decoded.

    Raises:
        FerError: If the suffix is not .mp4, no frame is written, or the file cannot be written.
    """
    if path.suffix.lower() != ".mp4":
        raise FerError(f"{path}: is no name for a video; use the suffix .mp4")
    with atomic_path(path) as temporary:
        try:
            # The index comes first, so that browsers start before they have the whole file.
            options = {"movflags": "+faststart"}
            with (
                av.open(ffmpeg_path(temporary), "w", format="mp4", options=options) as container,
                av.open(ffmpeg_path(sound)) if sound else nullcontext() as source,
            ):
                writer = VideoWriter(path, container, rate, source)
                yield writer
                writer.finish()
        except av.FFmpegError as error:
            raise FerError(f"{path}: cannot be written: {error.strerror}") from error


class VideoWriter:
    """Write frames with their times, and sound; `open_writer` makes one."""

    def __init__(
        self,
        path: Path,
        container: av.container.OutputContainer,
        rate: float,
        source: av.container.InputContainer | None,
    ) -> None:
        self._path, self._container, self._frame_seconds = path, container, 1 / rate
        self._size: tuple[int, int] | None = None
        self._last: tuple[av.VideoFrame, float] | None = None
        self._stream = container.add_stream(
            "h264", rate=Fraction(rate).limit_denominator(100_000), options=_ENCODER_OPTIONS
        )
        self._sound = None
        if source and source.streams.audio and source.streams.audio[0].codec_context:
            self._sound = _Sound(source, container)

    def write(self, image: Image.Image, seconds: float) -> None:
        """Add a frame in RGB at a time that is later than that of the frame before.

        If its size is not that of the first one, it is scaled and gets black bars.
        """
        if self._size is None:
            self._size = width, height = image.size
            self._stream.width, self._stream.height = width + width % 2, height + height % 2
            self._stream.pix_fmt = "yuv420p"
            context = self._stream.codec_context
            context.time_base = _TIME_BASE
            context.colorspace = context.color_primaries = context.color_trc = 1  # BT.709
            context.color_range = 1  # brightness from 16 to 235
        if image.size != self._size:
            image = ImageOps.pad(image, self._size)
        pixels = np.asarray(image)
        odd_rows, odd_columns = (side % 2 for side in pixels.shape[:2])
        even = np.pad(pixels, ((0, odd_rows), (0, odd_columns), (0, 0)), "edge")
        frame = av.VideoFrame.from_ndarray(even, format="rgb24")
        frame = frame.reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG")
        self._encode(frame, seconds)

    def extend(self, seconds: float) -> None:
        """Show the last frame until a time."""
        if self._last and seconds - self._last[1] > 1.5 * self._frame_seconds:
            self._encode(self._last[0], seconds - self._frame_seconds)

    def finish(self) -> None:
        """Write what is left."""
        if self._size is None:
            raise FerError(f"{self._path}: the video has no frames; check the input")
        if self._sound:
            self._sound.copy_until(float("inf"))
        self._container.mux(self._stream.encode(None))

    def _encode(self, frame: av.VideoFrame, seconds: float) -> None:
        self._last = frame, seconds
        frame.pts, frame.time_base = round(seconds / _TIME_BASE), _TIME_BASE
        if self._sound:
            self._sound.copy_until(seconds)
        self._container.mux(self._stream.encode(frame))


class _Sound:
    """Convert the sound of a video to AAC, in step with the frames of another."""

    def __init__(
        self, source: av.container.InputContainer, target: av.container.OutputContainer
    ) -> None:
        self._source, self._stream, self._target = source, source.streams.audio[0], target
        layout = "mono" if self._stream.channels == 1 else "stereo"
        self._output = target.add_stream("aac", rate=48_000, layout=layout)
        self._packets = self._convert()
        self._next = next(self._packets, None)

    def copy_until(self, seconds: float) -> None:
        while self._next is not None and (self._next.dts or 0) * self._next.time_base <= seconds:
            self._target.mux(self._next)
            self._next = next(self._packets, None)

    def _convert(self) -> "Iterator[av.Packet[Any]]":
        """Yield packets in AAC, with rising times from the start of the video."""
        start, last = Fraction(self._source.start_time or 0, av.time_base), -np.inf
        with suppress(av.FFmpegError):  # the reader of the frames reports damage
            for packet in self._source.demux(self._stream):
                frames: list[Any] = []
                with suppress(av.FFmpegError):
                    frames = packet.decode()
                for frame in frames:
                    frame.pts = (frame.pts or 0) - round(start / frame.time_base)
                    if frame.pts > last:  # the muxer refuses others
                        last = frame.pts
                        yield from self._output.encode(frame)
                    elif last - frame.pts > 1 / frame.time_base:  # of a joined video: out of step
                        last = np.inf
        yield from self._output.encode(None)
