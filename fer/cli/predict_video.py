"""Run `fer predict` on a video, a stream or a camera."""

import contextlib
import signal
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import FrameType

import numpy as np
from tqdm import tqdm

from fer.cli.printing import Printer, print_line, print_text
from fer.core.errors import FerError
from fer.predict import drawing
from fer.predict.recognizer import Recognizer
from fer.video.reader import Camera, Video
from fer.video.timeline import Timeline, check_plot
from fer.video.tracker import Frame
from fer.video.tracker import predict_video as _predict_video
from fer.video.writer import VideoWriter, open_writer


def predict_video(
    recognizer: Recognizer,
    show: Printer,
    source: str | Path | Camera,
    *,
    every: int = 1,
    face: bool = False,
    draw: Path | None = None,
    plot: Path | None = None,
) -> None:
    """Print the faces of each frame and a summary, draw them, plot their emotions over time.

    Ctrl-C ends a stream or a camera, and what was read until then is kept.

    Args:
        recognizer: The recognizer.
        show: Prints the faces of a frame. The summary follows on standard output if it prints text,
            and on standard error otherwise.
        source: The path of a file, the URL of a stream, or a camera.
        every: 1 for each frame, 2 for each second one, and so on.
        face: Whether each frame is one face already.
        draw: The video to write, with boxes.
        plot: The plot to write.

    Raises:
        FerError: If the source cannot be opened, or an output cannot be written. At the end, if a
            part of the source could not be read; then the outputs hold the rest.
    """
    if plot:
        check_plot(plot)
    video = Video(source)
    timeline = Timeline(video.name, recognizer.classes)
    errors: list[FerError] = []
    frames = _until_error(_predict_video(recognizer, video, every=every, face=face), errors)
    ends = contextlib.nullcontext() if video.path else _stop_on_signals(video)
    with _optional_writer(draw, video) as writer, _progress_bar(video) as bar, ends:
        for frame in frames:
            show((video.name, frame.seconds, frame.faces))
            timeline.add(frame.seconds, frame.faces)
            if writer:
                writer.write(drawing.draw_boxes(frame.image, frame.faces), frame.seconds)
            bar.update(min(frame.seconds, bar.total or np.inf) - bar.n)
        if errors and not timeline.has_frames:
            raise errors[0]  # rather than that the drawing has no frames
        timeline.finish(video.end)
        if writer and video.path:
            writer.extend(video.end)
    if writer and writer.lost_sound:
        _warn(f"the sound ({writer.lost_sound}) cannot be read; {draw} has none")
    if video.is_live and not errors:
        print(f"note: {video.name}: has ended", file=sys.stderr)
    for line in timeline.summary():
        if show is print_text:
            print_line(line)
        else:
            print(line, file=sys.stderr)
    if plot and timeline.has_faces:
        timeline.plot(plot)
    elif plot:
        _warn(f"no face found: {plot} is not written")
    if errors:
        raise errors[0]


def _optional_writer(
    path: Path | None, video: Video
) -> contextlib.AbstractContextManager[VideoWriter | None]:
    return open_writer(path, video.rate, video.path) if path else contextlib.nullcontext()


def _progress_bar(video: Video) -> tqdm:
    """Return a bar in seconds of the video, if standard error is a terminal with nothing else."""
    hidden = True if sys.stdout.isatty() else None
    shape = (
        "{l_bar}{bar}| {n:.0f}/{total:.0f} s [{elapsed}<{remaining}]" if video.duration else None
    )
    return tqdm(total=video.duration, unit="s", bar_format=shape, disable=hidden)


def _warn(text: str) -> None:
    print(f"warning: {text}", file=sys.stderr)


def _until_error(frames: Iterable[Frame], errors: list[FerError]) -> Iterator[Frame]:
    """Yield frames; an error is kept for later, so that what was read so far is not lost."""
    try:
        yield from frames
    except FerError as error:
        errors.append(error)


@contextlib.contextmanager
def _stop_on_signals(video: Video) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM end a video; the second one acts as usual."""

    def stop(number: int, frame: FrameType | None) -> None:
        video.stop()
        signal.signal(number, handlers[number])

    handlers = {int(n): signal.signal(n, stop) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
