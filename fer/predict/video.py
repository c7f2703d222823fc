"""Read the frames of a video file, a stream or a camera."""

import os
import queue
import re
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
from PIL import Image

from fer.errors import FerError

_TIMEOUT = 10.0
"""Seconds without data after which a stream or a camera has failed."""

_MAX_FAILURES = 1000
"""Number of failures in a row after which the rest of a file is given up."""

_DEFAULT_RATE = 25.0
"""Frames per second of a video that does not tell."""

_SILENT_FORMATS = {"avi", "asf", "flv", "matroska,webm"}
"""Formats that FFmpeg reads without an error if the end of the file is missing."""

_DEVICES = {"linux": "v4l2", "darwin": "avfoundation", "win32": "dshow"}
"""FFmpeg's format for cameras, by platform."""

_TURNS = {
    90: Image.Transpose.ROTATE_90,
    180: Image.Transpose.ROTATE_180,
    270: Image.Transpose.ROTATE_270,
}


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
            self.path, self.name = Path(source), str(Path(source))
            self.container = _open_file(self.path)
        self.stream = _video_stream(self.container, self.name)
        self.stream.thread_type = "AUTO"
        length = self.container.duration
        self.duration = None if length is None else length / av.time_base
        self.rate = _rate(self.stream)
        self.is_live = self.path is None and self.duration is None
        self._announced = _announced_length(self.container, self.stream)
        self._first_damage: float | None = None
        self._has_frames = False
        self._end = 0.0  # of the packets so far, in seconds

    def frames(self, every: int = 1) -> Iterator[tuple[float, Image.Image]]:
        """Yield the frames in RGB, upright, each with its time in seconds from the start.

        Times rise. A stream without an end, or a camera, gives its newest frame each time; those
        that came while the caller worked are left out. The video can be read once.

        Args:
            every: 1 for each frame, 2 for each second one, and so on.

        Raises:
            FerError: If a stream or a camera fails.
        """
        frames = self._timed_frames()
        for number, (seconds, frame) in enumerate(_newest(frames) if self.is_live else frames):
            if number % every == 0:
                yield seconds, _to_image(frame)

    def _timed_frames(self) -> Iterator[tuple[float, av.VideoFrame]]:
        """Yield the frames with rising times in seconds; close the video at the end."""
        period = 1 / self.rate
        start, last, shift = self.container.start_time, -period, 0.0
        origin = None if start is None else start / av.time_base
        try:
            for frame in self._decode():
                seconds = last + period
                if frame.time is not None:
                    origin = frame.time if origin is None else origin
                    if frame.time - origin + shift <= last:  # parts of different videos
                        shift = last + period - (frame.time - origin)
                    seconds = frame.time - origin + shift
                last, self._has_frames = seconds, True
                yield seconds, frame
        finally:
            self.container.close()

    def _decode(self) -> Iterator[av.VideoFrame]:
        """Yield the frames that can be decoded, and note where others cannot."""
        streams = [self.stream, *self.container.streams.audio]  # the latter for `check_damage`
        failures, waiting_since = 0, time.monotonic()
        while failures < _MAX_FAILURES:
            try:
                for packet in self.container.demux(streams):
                    failures, waiting_since = 0, time.monotonic()
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
        if packet.pts is not None:
            ticks = packet.pts + (packet.duration or 0)
            self._end = max(self._end, float(ticks * packet.time_base))
        if packet.stream is not self.stream:
            return []
        try:
            frames = packet.decode()
        except av.FFmpegError:
            frames = []
            self._note_damage()
        if packet.is_corrupt or any(frame.is_corrupt for frame in frames):
            self._note_damage()
        return frames

    def _note_damage(self) -> None:
        if self._first_damage is None:
            self._first_damage = self._end

    def check_damage(self) -> None:
        """Check that the frames read so far are all that the file has.

        Raises:
            FerError: If no frame was read, the decoder failed somewhere, or the end of the file is
                missing.
        """
        if not self._has_frames:
            raise FerError(f"{self.name}: no frame of it can be read; get it again")
        if self.is_live:  # it may have started anywhere
            return
        if self._first_damage is not None:
            raise FerError(
                f"{self.name}: is damaged near {self._first_damage:.2f} s; the frames that can be "
                "read were used; get it again"
            )
        announced = self._announced
        if announced and announced - self._end > 0.05 * announced + 0.1:  # some containers round
            raise FerError(
                f"{self.name}: is damaged: it ends after {self._end:.2f} of {announced:.2f} s; the "
                "frames that can be read were used; get it again"
            )


def is_url(source: object) -> bool:
    """Tell whether a source is the URL of a stream.

    Args:
        source: A path or a URL.

    Examples:
        >>> is_url("rtsp://192.168.0.2/live"), is_url("videos/in.mp4")
        (True, False)
    """
    return isinstance(source, str) and re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", source) is not None


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
    if container.format.name == "avi":  # its `duration` is of the bytes that are there
        return stream.frames / _rate(stream)
    if container.format.name in _SILENT_FORMATS and container.duration:
        return container.duration / av.time_base
    return None


def _to_image(frame: av.VideoFrame) -> Image.Image:
    """Return a frame in RGB, upright: phones store how they were held."""
    image = frame.to_image()
    turn = _TURNS.get(frame.rotation % 360)  # counter-clockwise
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
    frames: Iterator[tuple[float, av.VideoFrame]],
) -> Iterator[tuple[float, av.VideoFrame]]:
    """Yield the newest frame each time; a thread reads, so that no old frames pile up."""
    frames_or_end: queue.Queue[tuple[float, av.VideoFrame] | Exception | None] = queue.Queue()
    stopped = threading.Event()

    def read() -> None:
        end: Exception | None = None
        try:
            for item in frames:
                frames_or_end.put(item)
                if stopped.is_set():
                    break
        except Exception as error:  # raised again in the other thread
            end = error
        frames_or_end.put(end)

    threading.Thread(target=read, daemon=True).start()
    try:
        while True:
            items = [frames_or_end.get()]
            while not frames_or_end.empty():
                items.append(frames_or_end.get())
            newest = [item for item in items if isinstance(item, tuple)][-1:]
            yield from newest
            if isinstance(items[-1], Exception):
                raise items[-1]
            if items[-1] is None:
                return
    finally:
        stopped.set()
