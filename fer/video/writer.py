"""Write videos that browsers play: H.264 in MP4, with the sound of another video."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image, ImageOps

from fer.core.errors import FerError
from fer.core.files import atomic_path
from fer.video.reader import Joins, codec_name, ffmpeg_path

_TIME_BASE = Fraction(1, 90_000)
"""Unit of the times in seconds; that of MPEG, a multiple of the usual frame rates."""

_ENCODER_OPTIONS = {"preset": "veryfast", "crf": "20"}
"""Of x264: the drawing shares the cores with the prediction."""

_COPIED_SOUND = {"aac", "mp3", "opus", "flac"}
"""Codecs of sound that browsers play in MP4; any other sound becomes AAC."""

_BT709 = 1
"""Number of BT.709 among H.264's color spaces, primaries and transfer functions."""

_LIMITED_RANGE = 1
"""FFmpeg's number of the range of brightness from 16 to 235."""


@contextmanager
def open_writer(path: Path, rate: float, sound: Path | None = None) -> Iterator["VideoWriter"]:
    """Write an MP4 file in the block; it appears only when it is complete.

    Args:
        path: The file, with the suffix .mp4.
        rate: Frames per second of the source.
        sound: A video whose sound is copied.

    Raises:
        FerError: If the name has another suffix, no frame is written, or the file cannot be
            written.
    """
    if path.suffix.lower() != ".mp4":
        raise FerError(f"{path}: is no name for a video; use the suffix .mp4")
    if os.path.isdir(path):
        raise FerError(f"{path}: is a folder; name a file")
    with atomic_path(path) as temporary, ExitStack() as stack:
        try:
            writer = VideoWriter(temporary, rate, sound, stack)
            yield writer
            writer.finish()
        except av.FFmpegError as error:
            raise FerError(f"{path}: cannot be written: {error.strerror}") from error


class VideoWriter:
    """Write frames with their times, and copy sound; `open_writer` makes one.

    Args:
        path: The file.
        rate: Frames per second of the source.
        sound: A video whose sound is copied.
        stack: Closes the files.

    Attributes:
        lost_sound: Codec of the sound, if it cannot be decoded; otherwise None.

    Raises:
        FerError: If this build of PyAV cannot write H.264.
    """

    def __init__(self, path: Path, rate: float, sound: Path | None, stack: ExitStack) -> None:
        self.path = path
        self.lost_sound: str | None = None
        self._size: tuple[int, int] | None = None
        self._frame_seconds = 1 / rate
        self._last: tuple[av.VideoFrame, float] | None = None
        # The index comes first, so that browsers start before they have the whole file.
        options = {"movflags": "+faststart"}
        self._container = stack.enter_context(
            av.open(ffmpeg_path(path), "w", format="mp4", options=options)
        )
        try:
            self._stream = self._container.add_stream(
                "h264", rate=Fraction(rate).limit_denominator(100_000), options=_ENCODER_OPTIONS
            )
        except ValueError as error:
            raise FerError("this PyAV cannot write H.264; install that of PyPI") from error
        self._sound: _Sound | None = None
        if sound:
            self._open_sound(stack.enter_context(av.open(ffmpeg_path(sound))))

    def write(self, image: Image.Image, seconds: float) -> None:
        """Add a frame.

        Args:
            image: The frame in RGB. If its size is not that of the first one, it is scaled and
                gets black bars.
            seconds: Its time, which is later than that of the frame before.

        Raises:
            FerError: If this size cannot be written.
        """
        if self._size is None:
            self._size = image.size
            self._set_format(*image.size)
        if image.size != self._size:
            image = ImageOps.pad(image, self._size)
        pixels = np.asarray(image)
        odd_rows, odd_columns = (side % 2 for side in pixels.shape[:2])
        even = np.pad(pixels, ((0, odd_rows), (0, odd_columns), (0, 0)), "edge")
        frame = av.VideoFrame.from_ndarray(even, format="rgb24")
        frame = frame.reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG")
        self._encode(frame, seconds)

    def extend(self, seconds: float) -> None:
        """Show the last frame until a time, in seconds.

        Args:
            seconds: The end of the video.
        """
        if self._last and seconds - self._last[1] > 1.5 * self._frame_seconds:
            self._encode(self._last[0], seconds - self._frame_seconds)

    def _encode(self, frame: av.VideoFrame, seconds: float) -> None:
        self._last = frame, seconds
        frame.pts, frame.time_base = round(seconds / _TIME_BASE), _TIME_BASE
        if self._sound:
            self._sound.copy_until(seconds)
        try:
            packets = self._stream.encode(frame)
        except av.FFmpegError as error:
            raise FerError(
                f"{self.path.name}: frames of {frame.width} x {frame.height} cannot be written as "
                "H.264; scale the video down"
            ) from error
        self._container.mux(packets)

    def finish(self) -> None:
        """Write what is left.

        Raises:
            FerError: If no frame was written.
        """
        if self._size is None:
            raise FerError(f"{self.path.name}: the video has no frames; check the input")
        if self._sound:
            self._sound.copy_until(float("inf"))
        self._container.mux(self._stream.encode(None))
        self._container.close()

    def _set_format(self, width: int, height: int) -> None:
        self._stream.width, self._stream.height = width + width % 2, height + height % 2
        self._stream.pix_fmt = "yuv420p"
        context = self._stream.codec_context
        context.time_base = _TIME_BASE
        context.colorspace = context.color_primaries = context.color_trc = _BT709
        context.color_range = _LIMITED_RANGE

    def _open_sound(self, source: av.container.InputContainer) -> None:
        stream = next(iter(source.streams.audio), None)
        if stream is None:
            return
        if stream.codec_context is None:
            self.lost_sound = codec_name(source, stream)
        else:
            self._sound = _Sound(source, stream, self._container)


class _Sound:
    """Copy the sound of a video in step with the frames of another."""

    def __init__(
        self,
        source: av.container.InputContainer,
        stream: av.AudioStream,
        target: av.container.OutputContainer,
    ) -> None:
        self.source, self._stream, self._target = source, stream, target
        self._start = Fraction(source.start_time or 0, av.time_base)
        if stream.codec_context.codec.canonical_name in _COPIED_SOUND:
            self._output = target.add_stream_from_template(stream)
            self._packets = self._copy()
        else:
            layout = "mono" if stream.channels == 1 else "stereo"
            self._output = target.add_stream("aac", rate=48_000, layout=layout)
            self._packets = self._convert()
        self._next = next(self._packets, None)

    def copy_until(self, seconds: float) -> None:
        """Write the sound up to a time."""
        while self._next is not None and _seconds(self._next) <= seconds:
            self._target.mux(self._next)
            self._next = next(self._packets, None)

    def _copy(self) -> "Iterator[av.Packet[av.AudioStream]]":
        last = -(2**63)
        for packet in self._demux():
            packet.stream = self._output
            if packet.dts is not None and packet.dts > last:  # the muxer refuses others
                last = packet.dts
                yield packet

    def _convert(self) -> "Iterator[av.Packet[av.AudioStream]]":
        last = -(2**63)
        for packet in self._demux():
            try:
                frames: list[Any] = packet.decode()
            except av.FFmpegError:  # the reader of the frames reports damage
                continue
            for frame in frames:
                if frame.pts is not None and frame.pts > last:  # the encoder refuses others
                    last = frame.pts
                    yield from self._output.encode(frame)
        yield from self._output.encode(None)

    def _demux(self) -> "Iterator[av.Packet[Any]]":
        """Yield the packets of the sound, with times from the start of the video."""
        joins = Joins()
        try:
            for packet in self.source.demux():
                joins.shift(packet)
                if packet.stream is self._stream and packet.dts is not None:
                    ticks = round(self._start / packet.time_base)
                    packet.dts -= ticks
                    packet.pts = packet.dts if packet.pts is None else packet.pts - ticks
                    yield packet
        except av.FFmpegError:  # the reader of the frames reports damage
            return


def _seconds(packet: "av.Packet[av.AudioStream]") -> float:
    return float((packet.dts or 0) * packet.time_base)
