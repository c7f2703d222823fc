"""Run `fer predict` on a video, a stream or a camera."""

import argparse
import contextlib
import signal
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import FrameType

from tqdm import tqdm

from fer.cli.options import path_argument
from fer.cli.outputs import protect_inputs
from fer.cli.printing import Printer
from fer.core.errors import FerError
from fer.predict import drawing
from fer.predict.recognizer import UNSURE, Recognizer
from fer.video.reader import Camera, Video, is_url
from fer.video.timeline import Emotions, summary
from fer.video.tracker import Frame, predict_video
from fer.video.writer import open_writer


def run_on_video(recognizer: Recognizer, show: Printer, arguments: argparse.Namespace) -> None:
    """Print the faces of each frame and a summary, and draw them.

    The summary follows on standard output after text, and on standard error after JSON or CSV.
    Ctrl-C ends a stream or a camera, and what was read until then is kept.
    """
    draw = arguments.draw
    source: str | Path | Camera = arguments.video
    if arguments.webcam is not None:
        source = Camera(arguments.webcam)
    elif not is_url(arguments.video):
        source = path_argument(arguments.video)
    if isinstance(source, Path):
        protect_inputs(filter(None, [draw]), [source])
    video = Video(source)
    if not video.path:
        _stop_on_signals(video)
    emotions: list[tuple[float, Emotions]] = []
    errors: list[FerError] = []
    frames = predict_video(recognizer, video, every=arguments.every)
    total = round(video.duration * video.rate / arguments.every) if video.duration else None
    is_hidden = sys.stdout.isatty() or None  # None: if standard error is no terminal
    with (
        open_writer(draw, video.rate, video.path) if draw else contextlib.nullcontext() as writer,
        tqdm(total=total, unit=" frames", disable=is_hidden) as bar,
    ):
        for frame in _until_error(frames, errors):
            show((video.name, frame.seconds, frame.faces))
            by_id = {face.id or 0: face.emotion or UNSURE for face in frame.faces}
            emotions.append((frame.seconds, by_id))
            if writer:
                writer.write(drawing.draw_boxes(frame.image, frame.faces), frame.seconds)
            bar.update()
        if errors and not emotions:
            raise errors[0]  # rather than that the drawing has no frames
        if writer and video.path:
            writer.extend(video.end)
    is_text = not (arguments.json or arguments.csv)
    lines = summary(video.name, emotions, video.end)
    print(*lines, sep="\n", file=sys.stdout if is_text else sys.stderr)
    if errors:
        raise errors[0]


def _until_error(frames: Iterable[Frame], errors: list[FerError]) -> Iterator[Frame]:
    """Yield frames; an error is kept for later, so that what was read so far is not lost."""
    try:
        yield from frames
    except FerError as error:
        errors.append(error)


def _stop_on_signals(video: Video) -> None:
    """Let Ctrl-C and SIGTERM end a video; the second one ends the program."""

    def stop(number: int, frame: FrameType | None) -> None:
        video.stop()
        signal.signal(number, signal.SIG_DFL)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
