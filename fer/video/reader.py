"""Read the frames of a video file, a stream or a camera."""

import os
import queue
import re
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.sidedata.sidedata import Type as SideDataType
from av.video.reformatter import ColorPrimaries, ColorTrc
from PIL import Image

from fer.core.errors import FerError

_TIMEOUT = 10.0
"""Seconds without data after which a stream or a camera has failed."""

_MAX_FAILURES = 1000
"""Number of failures in a row after which the rest of a file is given up."""

_SILENT_FORMATS = {"flv", "matroska,webm", "mov,mp4,m4a,3gp,3g2,mj2"}
"""Formats that FFmpeg reads without an error if the end of the file is missing."""

_DEVICES = {"linux": "v4l2", "darwin": "avfoundation", "win32": "dshow"}
"""FFmpeg's format for cameras, by platform."""


@dataclass(frozen=True)
class Camera:
    """A camera.

    Attributes:
        name: Its number, from "0"; on Linux its file too, such as "/dev/video0", and on other
            systems its name.
    """

    name: str = "0"


class Video:
    """A video file, a stream or a camera.

    Args:
        source: The path of a file, the URL of a stream (rtsp, rtmp, http, ...), or a camera.

    Attributes:
        name: The path, the URL or "webcam".
        path: The file; None for a stream or a camera.
        duration: Length in seconds, if the file tells.
        rate: Frames per second, on average; 25 if the file does not tell.
        is_live: Whether this is a camera or a stream without an end.
        end: Time in seconds when the last frame so far ends.

    Raises:
        FerError: If there is no such video, or it cannot be decoded.
    """

    def __init__(self, source: "str | os.PathLike[str] | Camera") -> None:
        self.path: Path | None = None
        if isinstance(source, Camera):
            self.name, self._container = "webcam", _open_camera(source.name)
        elif is_url(source):
            self.name, self._container = str(source), _open_stream(str(source))
        else:
            self.path = Path(source)
            self.name = str(self.path)
            self._container = _open_file(self.path)
        self._stream = _video_stream(self._container, self.name)
        self._stream.thread_type = "AUTO"
        length, start = self._container.duration, self._container.start_time
        self.duration = None if length is None else length / av.time_base
        rate = self._stream.average_rate or self._stream.guessed_rate or Fraction(0)
        self.rate = float(rate) if 0.01 <= rate <= 1000 else 25.0
        self.is_live = self.path is None and length is None and self._container.size <= 0
        self.end = 0.0
        self._is_avi = self._container.format.name == "avi"
        # The length of a file, if only that shows whether its end is missing.
        is_silent = self._container.format.name in _SILENT_FORMATS
        self._announced = (self.duration or 0.0) if is_silent else 0.0
        if self._is_avi:  # its `duration` is of the bytes that are there
            self._announced = self._stream.frames / self.rate
        # The times of decoding in AVI are late by the frames that the decoder holds back.
        self._origin = None if start is None or self._is_avi else start / av.time_base
        self._is_used = False
        self._stopped = threading.Event()
        self._read_until = 0.0  # the end of the packets so far, in seconds
        self._first_damage = np.inf  # the same before the first damage

    def frames(self, every: int = 1) -> Iterator[tuple[float, Image.Image]]:
        """Yield the frames in RGB, upright, each with its time in seconds from the start.

        Times rise. A stream without an end, or a camera, gives its newest frame each time; those
        that came while the caller worked are left out. The video can be read once.

        Args:
            every: 1 for each frame, 2 for each second one, and so on.

        Raises:
            FerError: If a stream or a camera fails, or the video was read before.
        """
        if self._is_used:
            raise FerError(f"{self.name}: was read already; open it again")
        self._is_used = True
        aspect = self._stream.sample_aspect_ratio
        frames = self._timed_frames()
        newest = _newest(frames, self._stopped) if self.is_live else frames
        for number, (seconds, frame) in enumerate(newest):
            if number % every == 0:
                yield seconds, _to_image(frame, aspect)

    def stop(self) -> None:
        """End after the next frame."""
        self._stopped.set()

    def check_damage(self) -> None:
        """Check that the frames read so far are all that the file has.

        Raises:
            FerError: If no frame was read, the decoder failed somewhere, or the end of the file is
                missing.
        """
        if not self.end:
            raise FerError(f"{self.name}: no frame of it can be read; convert it to MP4")
        if self.is_live or self._stopped.is_set():  # it may start and end anywhere
            return
        missing = self._announced - self._read_until
        if missing > 0.05 * self._announced + 0.1:  # some containers round
            self._note_damage()
        if self._first_damage < np.inf:
            seconds = max(0.0, self._first_damage - (self._origin or 0))
            raise FerError(
                f"{self.name}: is damaged near {seconds:.2f} s; the frames that can be read were "
                "used; get it again"
            )

    def _timed_frames(self) -> Iterator[tuple[float, av.VideoFrame]]:
        """Yield the frames with rising times in seconds; close the video at the end."""
        last = -np.inf
        try:
            for frame in self._decode():
                # AVI has times of decoding only; those of presentation are guesses of FFmpeg.
                ticks = frame.dts if self._is_avi or frame.pts is None else frame.pts
                if ticks is None or not frame.time_base:
                    seconds = self.end
                else:
                    time_in_file = float(ticks * frame.time_base)
                    self._origin = time_in_file if self._origin is None else self._origin
                    seconds = time_in_file - self._origin
                if seconds <= last:  # by more than a second where two videos were joined
                    seconds = self.end if last - seconds > 1 else last + 0.0005
                last = seconds
                length = float(frame.duration * frame.time_base) if frame.time_base else 0
                self.end = last + (length or 1 / self.rate)
                yield last, frame
                if self._stopped.is_set():
                    return
        finally:
            self._container.close()

    def _decode(self) -> Iterator[av.VideoFrame]:
        """Yield the frames that can be decoded, and note where others cannot."""
        failures = 0
        while failures < _MAX_FAILURES:
            try:
                for packet in self._container.demux():
                    failures = 0
                    yield from self._decode_packet(packet)
                return
            except av.FFmpegError as error:  # of the container, not of a decoder
                failures += 1
                if self.path:  # its next packets may be good
                    self._note_damage()
                elif isinstance(error, BlockingIOError) and failures < _MAX_FAILURES:
                    time.sleep(_TIMEOUT / _MAX_FAILURES)  # a camera has no new frame yet
                else:
                    raise FerError(
                        f"{self.name}: {_reason(error)}; check its connection"
                    ) from error

    def _decode_packet(self, packet: av.Packet) -> list[av.VideoFrame]:
        if packet.pts is not None:
            ticks = packet.pts + (packet.duration or 0)
            self._read_until = max(self._read_until, float(ticks * packet.time_base))
        frames: list[av.VideoFrame] = []
        is_damaged = packet.is_corrupt
        if packet.stream is self._stream:
            try:
                frames = packet.decode()
            except av.FFmpegError:
                is_damaged = True
        if is_damaged or any(frame.is_corrupt for frame in frames):
            self._note_damage()
        return frames

    def _note_damage(self) -> None:
        self._first_damage = min(self._first_damage, self._read_until)


def is_url(source: object) -> bool:
    """Tell whether a source is the URL of a stream.

    Examples:
        >>> is_url("rtsp://192.168.0.2/live"), is_url("videos/in.mp4")
        (True, False)
    """
    return isinstance(source, str) and re.match(r"(?!file:)[A-Za-z][\w+.-]+://", source) is not None


def ffmpeg_path(path: Path) -> str:
    """Return a path as FFmpeg takes it: a colon in it would mean a protocol."""
    return f"file:{path}"


def _open_file(path: Path) -> av.container.InputContainer:
    if not os.path.isfile(path):
        raise FerError(f"{path}: no such file; check the name")
    try:
        container = av.open(ffmpeg_path(path))
        if container.format.name != "tty":  # FFmpeg plays any text file
            return container
    except av.FFmpegError:
        pass
    raise FerError(f"{path}: is not a video that can be read; convert it to MP4")


def _open_stream(url: str) -> av.container.InputContainer:
    options = {"rtsp_transport": "tcp"} if url.startswith("rtsp") else {}
    try:
        return av.open(url, timeout=_TIMEOUT, options=options)
    except (av.FFmpegError, ValueError) as error:
        raise FerError(f"{url}: {_reason(error)}; check the address") from error


def _open_camera(name: str) -> av.container.InputContainer:
    kind = _DEVICES.get(sys.platform, "v4l2")
    file, options = name, {}
    try:
        if kind == "v4l2" and name.isdigit():
            file = f"/dev/video{name}"
        elif kind == "dshow":  # knows no numbers
            devices = av.device.enumerate_input_devices(kind)
            cameras = [device.name for device in devices if device.media_types != ["audio"]]
            file = f"video={cameras[int(name)] if name.isdigit() else name}"
        elif kind == "avfoundation":  # its own default is a rate that most cameras lack
            options = {"framerate": "30"}
        return av.open(file, format=kind, options=options)
    except (av.FFmpegError, ValueError, IndexError) as error:
        raise FerError(
            f"--webcam {name}: cannot be opened: {_reason(error)}; check its number or name"
        ) from error


def _video_stream(container: av.container.InputContainer, name: str) -> av.VideoStream:
    stream = container.streams.best("video")
    is_cover = stream is not None and stream.disposition & av.stream.Disposition.attached_pic
    if not isinstance(stream, av.VideoStream) or is_cover or stream.codec_context is None:
        raise FerError(f"{name}: has no video that can be decoded; convert it to H.264 in MP4")
    return stream


def _to_image(frame: av.VideoFrame, aspect: Fraction | None) -> Image.Image:
    """Return a frame in RGB, upright, with square pixels.

    `aspect` is the width of a pixel divided by its height.
    """
    # FFmpeg maps the tones of HDR, which would look washed out in 8 bits.
    is_hdr = frame.color_trc in (ColorTrc.SMPTE2084, ColorTrc.ARIB_STD_B67)
    colors = {"dst_color_trc": ColorTrc.BT709, "dst_color_primaries": ColorPrimaries.BT709}
    image = frame.to_image(**colors if is_hdr else {})
    if aspect and aspect != 1:
        width, height = image.size
        image = image.resize(
            (round(width * aspect), height) if aspect > 1 else (width, round(height / aspect))
        )
    side_data: Any = frame.side_data  # PyAV's stubs say that its keys are names
    matrix = side_data.get(SideDataType.DISPLAYMATRIX)
    if matrix is None:
        return image
    # The matrix takes a column x and a row y to a * x + c * y and b * x + d * y.
    a, b, _, c, d, *_ = np.frombuffer(bytes(matrix), np.int32).tolist()
    pixels = np.asarray(image)
    if abs(b) > abs(a):  # turned by a quarter
        pixels, a, d = pixels.swapaxes(0, 1), c, b
    return Image.fromarray(pixels[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])


def _reason(error: Exception) -> str:
    """Return what went wrong, without the name of a function of FFmpeg."""
    if isinstance(error, av.error.ExitError | BlockingIOError):
        return f"no data came for {_TIMEOUT:.0f} s"
    return getattr(error, "strerror", None) or str(error)


def _newest(
    frames: Iterator[tuple[float, av.VideoFrame]], stopped: threading.Event
) -> Iterator[tuple[float, av.VideoFrame]]:
    """Yield the newest frame each time until `stopped`; a thread reads, so that none pile up.

    Raises:
        FerError: If no frame comes for a while, even if the driver of a camera blocks.
    """
    newest: queue.Queue[Any] = queue.Queue()  # of a frame; at the end, an error or None

    def read() -> None:
        try:
            for frame in frames:
                with suppress(queue.Empty):
                    newest.get_nowait()
                newest.put(frame)
            newest.put(None)
        except Exception as error:  # raised again in the other thread
            newest.put(error)

    threading.Thread(target=read, daemon=True).start()
    try:
        while not stopped.is_set():
            item = newest.get(timeout=2 * _TIMEOUT)
            if item is None:
                return
            if isinstance(item, Exception):
                raise item
            yield item
    except queue.Empty:
        raise FerError(f"no frame came for {2 * _TIMEOUT:.0f} s; check the camera") from None
    finally:
        stopped.set()
