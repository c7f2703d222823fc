"""Read the frames of a video file, a stream or a camera."""

import os
import re
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.sidedata.sidedata import Type as SideDataType
from PIL import Image

from fer.core.errors import FerError

_TIMEOUT = 10.0
"""Seconds without data after which a stream or a camera has failed."""

_MAX_FAILURES = 1000
"""Number of failures in a row after which the rest of a file is given up."""

_DEFAULT_RATE = 25.0
"""Frames per second of a video that does not tell."""

_SILENT_FORMATS = {"avi", "flv", "matroska,webm", "mov,mp4,m4a,3gp,3g2,mj2"}
"""Formats that FFmpeg reads without an error if the end of the file is missing."""

_DEVICES = {"linux": "v4l2", "darwin": "avfoundation", "win32": "dshow"}
"""FFmpeg's format for cameras, by platform."""

_JOIN = 1.0
"""Seconds by which times step back where two videos were joined; less is an error of one packet."""

_NUDGE = 0.0005
"""Seconds between two frames to which a file gives the same time."""

_TURNS = {
    (-1, 0, 0, 1): Image.Transpose.FLIP_LEFT_RIGHT,
    (1, 0, 0, -1): Image.Transpose.FLIP_TOP_BOTTOM,
    (-1, 0, 0, -1): Image.Transpose.ROTATE_180,
    (0, 1, -1, 0): Image.Transpose.ROTATE_270,
    (0, -1, 1, 0): Image.Transpose.ROTATE_90,
    (0, 1, 1, 0): Image.Transpose.TRANSPOSE,
    (0, -1, -1, 0): Image.Transpose.TRANSVERSE,
}
"""How to turn a frame upright, by the signs of its display matrix."""


@dataclass(frozen=True)
class Camera:
    """A camera.

    Attributes:
        name: Its number, from "0", or its name, or on Linux its file, such as "/dev/video0".
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
            self.name, self.container = "webcam", _open_camera(source.name)
        elif is_url(source):
            self.name, self.container = str(source), _open_stream(str(source))
        else:
            self.path = Path(source)
            self.name = str(self.path)
            self.container = _open_file(self.path)
        self.stream = _video_stream(self.container, self.name)
        self.stream.thread_type = "AUTO"
        length = self.container.duration
        self.duration = None if length is None else length / av.time_base
        self.rate = _rate(self.stream)
        self.is_live = self.path is None and self.duration is None and self.container.size <= 0
        self.end = 0.0
        self._announced = _announced_length(self.container, self.stream)
        start = self.container.start_time
        self._origin = None if start is None else start / av.time_base
        self._first_damage: float | None = None
        self._has_frames = False
        self._is_used = False
        self._stopped = threading.Event()
        self._read_until = 0.0  # the end of the packets so far, in seconds

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
        aspect = self.stream.sample_aspect_ratio
        frames = self._timed_frames()
        newest = _newest(frames, self._stopped) if self.is_live else frames
        for number, (seconds, frame) in enumerate(newest):
            if number % every == 0:
                yield seconds, _to_image(frame, aspect)

    def stop(self) -> None:
        """End after the next frame."""
        self._stopped.set()

    def _timed_frames(self) -> Iterator[tuple[float, av.VideoFrame]]:
        """Yield the frames with rising times in seconds; close the video at the end."""
        period, last, clock = 1 / self.rate, None, _Clock()
        try:
            for frame in self._decode():
                time_in_file = clock.time(frame)
                if time_in_file is None:
                    seconds = 0.0 if last is None else last + period
                else:
                    self._origin = time_in_file if self._origin is None else self._origin
                    seconds = time_in_file - self._origin
                    if last is not None and seconds <= last:
                        seconds = last + _NUDGE
                last, self.end, self._has_frames = seconds, seconds + period, True
                yield seconds, frame
                if self._stopped.is_set():
                    return
        finally:
            self.container.close()

    def _decode(self) -> Iterator[av.VideoFrame]:
        """Yield the frames that can be decoded, and note where others cannot."""
        failures, waiting_since, joins = 0, time.monotonic(), Joins()
        while failures < _MAX_FAILURES:
            try:
                for packet in self.container.demux():
                    failures, waiting_since = 0, time.monotonic()
                    joins.shift(packet)
                    yield from self._decode_packet(packet)
                return
            except av.FFmpegError as error:  # of the container, not of a decoder
                if self.path:  # its next packets may be good
                    failures += 1
                    self._note_damage()
                elif isinstance(error, BlockingIOError):  # a camera has no new frame yet
                    if time.monotonic() - waiting_since > _TIMEOUT:
                        raise _failed(self.name, error) from error
                    time.sleep(0.005)
                else:
                    raise _failed(self.name, error) from error

    def _decode_packet(self, packet: av.Packet) -> list[av.VideoFrame]:
        if packet.pts is not None and packet.stream.type != "subtitle":
            ticks = packet.pts + (packet.duration or 0)
            self._read_until = max(self._read_until, float(ticks * packet.time_base))
        if packet.is_corrupt:
            self._note_damage()
        if packet.stream is not self.stream:
            return []
        try:
            frames = packet.decode()
        except av.FFmpegError:
            self._note_damage()
            return []
        if any(frame.is_corrupt for frame in frames):
            self._note_damage()
        return frames

    def _note_damage(self) -> None:
        if self._first_damage is None:
            self._first_damage = max(0.0, self._read_until - (self._origin or 0))

    def check_damage(self) -> None:
        """Check that the frames read so far are all that the file has.

        Raises:
            FerError: If no frame was read, the decoder failed somewhere, or the end of the file is
                missing.
        """
        if not self._has_frames:
            raise FerError(f"{self.name}: no frame of it can be read; convert it to MP4")
        if self.is_live or self._stopped.is_set():  # it may start and end anywhere
            return
        if self._first_damage is not None:
            raise FerError(
                f"{self.name}: is damaged near {self._first_damage:.2f} s; the frames that can be "
                "read were used; get it again"
            )
        announced = self._announced
        read = self._read_until
        if announced and announced - read > 0.05 * announced + 0.1:  # some containers round
            raise FerError(
                f"{self.name}: is damaged: it ends after {read:.2f} of {announced:.2f} s; the "
                "frames that can be read were used; get it again"
            )


class Joins:
    """Shift the packets of joined videos, whose times start anew, so that they go on."""

    def __init__(self) -> None:
        self._shift = Fraction(0)
        self._ends: dict[int, Fraction] = {}

    def shift(self, packet: av.Packet) -> None:
        """Change the times of the next packet of a file, of any stream.

        All streams get the same shift, so that sound and picture stay together.

        Args:
            packet: The packet.
        """
        if packet.dts is None or packet.stream.type not in ("video", "audio"):
            return
        start = packet.dts * packet.time_base + self._shift
        step = self._ends.get(packet.stream_index, start) - start
        if step > _JOIN:
            self._shift += step
            start += step
        ticks = round(self._shift / packet.time_base)
        packet.dts += ticks
        if packet.pts is not None:
            packet.pts += ticks
        self._ends[packet.stream_index] = start + (packet.duration or 0) * packet.time_base


class _Clock:
    """Choose the times of frames: those of decoding if those of presentation step back more often.

    AVI has no times of presentation, so those that FFmpeg guesses may be wrong (the same choice as
    guess_correct_pts of FFmpeg).
    """

    def __init__(self) -> None:
        self._last: dict[str, int | None] = {"pts": None, "dts": None}
        self._faults = {"pts": 0, "dts": 0}

    def time(self, frame: av.VideoFrame) -> float | None:
        """Return the time of the next frame in seconds; None if the file has none."""
        values = {"pts": frame.pts, "dts": frame.dts}
        for name, value in values.items():
            last = self._last[name]
            self._faults[name] += value is not None and last is not None and value <= last
            self._last[name] = last if value is None else value
        is_pts_better = self._faults["pts"] <= self._faults["dts"] or frame.dts is None
        value = frame.pts if is_pts_better and frame.pts is not None else frame.dts
        return None if value is None or not frame.time_base else float(value * frame.time_base)


def is_url(source: object) -> bool:
    """Tell whether a source is the URL of a stream.

    Args:
        source: A path or a URL.

    Examples:
        >>> is_url("rtsp://192.168.0.2/live"), is_url("videos/in.mp4")
        (True, False)
    """
    return isinstance(source, str) and re.match(r"(?!file:)[A-Za-z][\w+.-]+://", source) is not None


def ffmpeg_path(path: Path) -> str:
    """Return a path as FFmpeg takes it: a colon in it would mean a protocol.

    Args:
        path: The path of a file.
    """
    return f"file:{path}"


def codec_name(container: av.container.InputContainer, stream: av.stream.Stream) -> str:
    """Return the name of a codec that FFmpeg cannot decode, such as "evc (evc1)".

    PyAV tells it in the description of the container only.

    Args:
        container: The file.
        stream: A stream in it, without a codec context.
    """
    level = av.logging.get_level()
    av.logging.set_level(av.logging.INFO)
    description = container.dumps_format()  # type: ignore[attr-defined]  # not in PyAV's stubs
    av.logging.set_level(level)
    name = re.search(rf"Stream #0:{stream.index}\b.*?: (?:Video|Audio): ([^,]+)", description)
    return re.sub(r" / 0x\w+", "", name[1]) if name else "unknown"


def _open_file(path: Path) -> av.container.InputContainer:
    if not os.path.isfile(path):
        raise FerError(f"{path}: no such file; check the name")
    try:
        container = av.open(ffmpeg_path(path))
    except PermissionError as error:
        raise FerError(f"{path}: cannot be read: {error.strerror}") from error
    except av.FFmpegError as error:
        raise _no_video(str(path)) from error
    if container.format.name == "tty":  # FFmpeg plays any text file
        raise _no_video(str(path))
    return container


def _open_stream(url: str) -> av.container.InputContainer:
    options = {"rtsp_transport": "tcp"} if url.startswith("rtsp") else {}
    try:
        return av.open(url, timeout=_TIMEOUT, options=options)
    except (av.FFmpegError, ValueError) as error:
        raise _failed(url, error) from error


def _open_camera(name: str) -> av.container.InputContainer:
    kind = _DEVICES.get(sys.platform, "v4l2")
    try:
        devices = av.device.enumerate_input_devices(kind)
    except (av.FFmpegError, ValueError, OSError):  # some systems do not tell; the name may be right
        devices = []
    cameras = [d for d in devices if not d.media_types or "video" in d.media_types]
    names = {text.lower(): d.name for d in cameras for text in (d.name, d.description)}
    file = names.get(name.lower(), name)
    if name.isdigit() and kind == "v4l2":
        file = f"/dev/video{name}"
    elif name.isdigit() and kind == "dshow":
        file = cameras[int(name)].name if int(name) < len(cameras) else name
    # avfoundation's own default is a rate that most cameras lack.
    options = {"framerate": "30"} if kind == "avfoundation" else {}
    try:
        return av.open(f"video={file}" if kind == "dshow" else file, format=kind, options=options)
    except (av.FFmpegError, ValueError) as error:
        there = ", ".join(f"{d.name} ({d.description})" for d in cameras) or "none"
        raise FerError(
            f"--webcam {name}: cannot be opened: {_reason(error)}; connected cameras: {there}"
        ) from error


def _video_stream(container: av.container.InputContainer, name: str) -> av.VideoStream:
    """Return the video of a container.

    Raises:
        FerError: If it has none, or nothing here can decode it.
    """
    stream = container.streams.best("video")
    is_cover = stream is not None and stream.disposition & av.stream.Disposition.attached_pic
    if not isinstance(stream, av.VideoStream) or is_cover:
        raise FerError(f"{name}: has no video, only sound or text; name another file")
    if stream.codec_context is None:
        codec = codec_name(container, stream)
        raise FerError(f"{name}: its codec {codec} cannot be decoded; convert it to H.264")
    return stream


def _rate(stream: av.VideoStream) -> float:
    """Return a stream's frames per second; the default if what it tells cannot be."""
    rate = stream.average_rate or stream.guessed_rate or Fraction(0)
    return float(rate) if 0.01 <= rate <= 1000 else _DEFAULT_RATE


def _announced_length(
    container: av.container.InputContainer, stream: av.VideoStream
) -> float | None:
    """Return the length of a file in seconds, if only that shows whether its end is missing."""
    name = container.format.name
    if name == "avi":  # its `duration` is of the bytes that are there
        return stream.frames / _rate(stream)
    if name not in _SILENT_FORMATS or not container.duration:
        return None
    if not container.streams.subtitles:  # which may last longer than what is to be seen
        return container.duration / av.time_base
    tags = [
        s.metadata.get("DURATION") for s in (*container.streams.video, *container.streams.audio)
    ]
    return max((_parse_duration(tag) for tag in tags if tag), default=None)


def _parse_duration(text: str) -> float:
    """Return the seconds of Matroska's tag DURATION, such as 00:01:30.040000000."""
    hours, minutes, seconds = text.split(":")
    return 3600 * int(hours) + 60 * int(minutes) + float(seconds)


def _to_image(frame: av.VideoFrame, aspect: Fraction | None) -> Image.Image:
    """Return a frame in RGB, upright, with square pixels.

    Args:
        frame: The frame.
        aspect: Width of a pixel divided by its height.
    """
    image = frame.to_image()
    if aspect and aspect != 1:
        width, height = image.size
        image = image.resize(
            (round(width * aspect), height) if aspect > 1 else (width, round(height / aspect))
        )
    side_data: Any = frame.side_data  # PyAV's stubs say that its keys are names
    matrix = side_data.get(SideDataType.DISPLAYMATRIX)
    if matrix is None:
        return image
    a, b, _, c, d, *_ = np.sign(np.frombuffer(bytes(matrix), np.int32)).tolist()
    turn = _TURNS.get((a, b, c, d))
    return image.transpose(turn) if turn is not None else image


def _no_video(name: str) -> FerError:
    return FerError(f"{name}: is not a video that can be read; convert it to MP4")


def _failed(name: str, error: Exception) -> FerError:
    return FerError(f"{name}: {_reason(error)}; check the address and the connection")


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
    newest: list[tuple[float, av.VideoFrame]] = []
    ends: list[Exception | None] = []
    changed = threading.Condition()

    def read() -> None:
        end: Exception | None = None
        try:
            for item in frames:
                with changed:
                    newest[:] = [item]
                    changed.notify()
        except Exception as error:  # raised again in the other thread
            end = error
        with changed:
            ends.append(end)
            changed.notify()

    threading.Thread(target=read, daemon=True).start()
    waiting_since = time.monotonic()
    try:
        while not stopped.is_set():
            with changed:
                # In steps, because Ctrl-C does not end a long wait on Windows.
                changed.wait_for(lambda: newest or ends, timeout=0.2)
                items, has_ended = newest.copy(), bool(ends)
                newest.clear()
            yield from items
            if items:
                waiting_since = time.monotonic()
            elif has_ended:
                if ends[0]:
                    raise ends[0]
                return
            elif time.monotonic() - waiting_since > 2 * _TIMEOUT:
                raise FerError(f"no frame came for {2 * _TIMEOUT:.0f} s; check the camera")
    finally:
        stopped.set()
