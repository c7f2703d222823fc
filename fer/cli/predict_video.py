"""Run `fer predict` on a video, a stream or a camera."""

import argparse
import contextlib
import signal
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import FrameType
from urllib.parse import urlsplit
from urllib.request import url2pathname

import numpy as np
from tqdm import tqdm

from fer.cli.options import path_argument
from fer.cli.outputs import protect_inputs
from fer.cli.printing import Printer, print_line, print_text, warn
from fer.core.errors import FerError
from fer.predict import drawing
from fer.predict.recognizer import Recognizer
from fer.video.reader import Camera, Video, is_url
from fer.video.timeline import Timeline, check_plot
from fer.video.tracker import Frame, predict_video
from fer.video.writer import open_writer


def run_on_video(recognizer: Recognizer, show: Printer, arguments: argparse.Namespace) -> None:
    """Print the faces of each frame and a summary, draw them, plot their emotions over time.

    The summary follows on standard output if `show` prints text, and on standard error otherwise.
    Ctrl-C ends a stream or a camera, and what was read until then is kept.

    Raises:
        FerError: If the source cannot be opened, or an output cannot be written. At the end, if a
            part of the source could not be read; then the outputs hold what could be read.
    """
    draw, plot = arguments.draw, arguments.plot
    if plot:
        check_plot(plot)
    source = _source(arguments)
    if isinstance(source, Path):
        protect_inputs(filter(None, [draw, plot]), [source])
    video = Video(source)
    timeline = Timeline(video.name, recognizer.classes)
    errors: list[FerError] = []
    frames = predict_video(recognizer, video, every=arguments.every, face=arguments.face)
    no_writer = contextlib.nullcontext()
    with (
        open_writer(draw, video.rate, video.path) if draw else no_writer as writer,
        _progress_bar(video) as bar,
        contextlib.nullcontext() if video.path else _stop_on_signals(video),
    ):
        for frame in _until_error(frames, errors):
            show((video.name, frame.seconds, frame.faces))
            timeline.add(frame.seconds, frame.faces)
            if writer:
                writer.write(drawing.draw_boxes(frame.image, frame.faces), frame.seconds)
            bar.update(min(frame.seconds, bar.total or np.inf) - bar.n)
        if errors and not timeline.times:
            raise errors[0]  # rather than that the drawing has no frames
        timeline.end = video.end
        if writer and video.path:
            writer.extend(video.end)
    if writer and writer.has_lost_sound:
        warn(f"the sound cannot be decoded; {draw} has none")
    if video.is_live and not errors:
        print(f"note: {video.name}: has ended", file=sys.stderr)
    for line in timeline.summary():
        if show is print_text:
            print_line(line)
        else:
            print(line, file=sys.stderr)
    if plot and timeline.faces:
        timeline.plot(plot)
    elif plot:
        warn(f"no face found: {plot} is not written")
    if errors:
        raise errors[0]


def _source(arguments: argparse.Namespace) -> str | Path | Camera:
    if arguments.webcam is not None:
        return Camera(arguments.webcam)
    name = arguments.video
    if name.startswith("file://"):  # as file managers copy it
        name = url2pathname(urlsplit(name).path)
    return name if is_url(name) else path_argument(name)


def _progress_bar(video: Video) -> tqdm:
    """Return a bar in seconds of the video, if standard error is a terminal with nothing else."""
    hidden = True if sys.stdout.isatty() else None
    shape = (
        "{l_bar}{bar}| {n:.0f}/{total:.0f} s [{elapsed}<{remaining}]" if video.duration else None
    )
    return tqdm(total=video.duration, unit="s", bar_format=shape, disable=hidden)


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
