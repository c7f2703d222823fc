"""The command `fer`."""

import argparse
import contextlib
import csv
import io
import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path

from PIL import Image

from fer.errors import FerError, exit_on_error
from fer.files import atomic_path
from fer.predict import drawing, images, table
from fer.predict.recognizer import SMALL, Face, Recognizer
from fer.predict.table import Found
from fer.predict.threads import in_order

Show = Callable[[Found], None]
"""Prints the faces of an image or of a frame of a video."""

_STANDARD = Path("-")

_EXAMPLES = """examples:
  fer predict photo.jpg                         the emotion of each face, in words
  fer predict photos/ --csv > faces.csv         a row a face
  fer predict a.jpg b.jpg --draw marked/        the pictures with boxes, into a folder
  fer predict photo.jpg --explain why.png       what the model looked at
  fer predict --video in.mp4 --draw out.mp4     needs pip install opencv-python-headless
  cat photo.jpg | fer predict - --json
"""


def main() -> None:
    """Run the command line."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a name that the terminal cannot show
    try:
        exit_on_error(_run)
    except BrokenPipeError:  # of `fer predict ... | head`
        _drop_output()
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)  # as a shell has it


def _run() -> None:
    parser = _parser()
    arguments = parser.parse_args()
    if arguments.command:
        _predict(arguments)
    else:
        parser.print_help()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="fer", description="Facial emotion recognition.")
    parser.add_argument("--version", action="version", version=version("fer-pipeline"))
    predict = parser.add_subparsers(dest="command").add_parser(
        "predict",
        help="tell the emotions of the faces in images or in a video",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    predict.add_argument(
        "images", nargs="*", type=_path, help="files, or folders of them; - is standard input"
    )
    predict.add_argument("--video", type=_path, help="a video, in place of images")
    predict.add_argument("--webcam", action="store_true", help="the camera, until Ctrl-C")
    predict.add_argument("--face", action="store_true", help="each image is one face already")
    predict.add_argument(
        "--model",
        default="int8",
        help="int8 (the default), float32, or an ONNX file that the stage quantize wrote",
    )
    form = predict.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print a JSON object an image or frame")
    form.add_argument(
        "--csv", action="store_true", help="print a row a face, or for an image without"
    )
    predict.add_argument(
        "--draw",
        type=_path,
        help="write the image, or the video at its mean rate, with boxes; of several images, a "
        "folder, in which nothing is replaced if the images lie in it too",
    )
    predict.add_argument(
        "--explain", type=_path, help="write an image of what the model looked at in each face"
    )
    return parser


def _path(text: str) -> Path:
    if not text:  # which pathlib takes for the current folder
        raise FerError("a name is empty; the current folder is .")
    return Path(text)


def _predict(arguments: argparse.Namespace) -> None:
    if bool(arguments.images) + bool(arguments.video) + arguments.webcam != 1:
        raise FerError("fer predict takes images, or --video, or --webcam")
    if arguments.explain and not arguments.images:
        raise FerError("--explain is for images")
    recognizer = Recognizer(arguments.model)
    show: Show = _show_text
    if arguments.json:
        show = _show_json
    elif arguments.csv:
        show = _csv_shower(recognizer.classes)
    run = _predict_images if arguments.images else _predict_video
    run(recognizer, show, arguments)


def _predict_images(recognizer: Recognizer, show: Show, arguments: argparse.Namespace) -> None:
    paths, failed = _files(arguments.images)
    targets = _targets(arguments.images, paths, arguments.draw) if arguments.draw else {}
    _check_targets(paths, [*targets.values(), *filter(None, [arguments.explain])])
    _keep_others(paths, targets, arguments.draw)
    explained: list[tuple[str, Face]] = []
    small = 0
    # Here, as Ctrl-C would wait for a thread that reads.
    standard = sys.stdin.buffer.read() if _STANDARD in paths else b""
    look = partial(_look, recognizer, arguments.face, standard)
    for path, found in zip(paths, in_order(look, paths, recognizer.threads), strict=True):
        if isinstance(found, FerError):
            _complain(found)
            failed = True
            continue
        image, faces = found
        show((str(path), None, faces))
        small += sum(face.box[2] - face.box[0] < SMALL for face in faces)
        explained += [(str(path), face) for face in faces] if arguments.explain else []
        if arguments.draw:
            try:
                _save(drawing.mark(image, faces), targets[path])
            except FerError as error:
                _complain(error)
                failed = True
    if explained:
        _save(drawing.explain(explained, recognizer.classes), arguments.explain)
    elif arguments.explain:
        print(f"warning: no face found: {arguments.explain} is not written", file=sys.stderr)
    if small:
        print(
            f"warning: faces of less than {SMALL} pixels, whose emotions are guesses: {small}",
            file=sys.stderr,
        )
    if failed:
        sys.exit(1)


def _look(
    recognizer: Recognizer, face: bool, standard: bytes, path: Path
) -> tuple[Image.Image, list[Face]] | FerError:
    try:
        source = (io.BytesIO(standard), "-") if path == _STANDARD else (path,)
        image = images.read(*source)
    except FerError as error:
        return error
    try:
        return image, recognizer.predict(image, face=face)
    except FerError as error:
        return FerError(f"{path}: {error}")


def _complain(error: FerError) -> None:
    print(f"error: {error}", file=sys.stderr)


def _files(given: list[Path]) -> tuple[list[Path], bool]:
    """The images that are given or in folders, each once; whether a folder could not be read."""
    paths: list[Path] = []
    failed = False
    for path in given:
        try:
            paths += _in_folder(path) if os.path.isdir(path) else [path]
        except FerError as error:
            _complain(error)
            failed = True
    return list(dict.fromkeys(paths)), failed


def _in_folder(folder: Path) -> list[Path]:
    try:
        found = sorted(p for p in folder.iterdir() if p.suffix.lower() in images.SUFFIXES)
    except OSError as error:
        raise FerError(f"{folder}: cannot be read: {error.strerror}") from error
    if not found:
        raise FerError(f"{folder}: no images in this folder")
    return found


def _targets(given: list[Path], paths: list[Path], draw: Path) -> dict[Path, Path]:
    """Where each drawn image goes.

    That is `draw` for one image; for several, or where there is a folder of that name, into it,
    with the folders that they do not share, as PNG where a name has no suffix of an image.
    Raises FerError where `draw` is a file's name and there are several.
    """
    if len(paths) == 1 and not os.path.isdir(given[0]) and not os.path.isdir(draw):
        return {paths[0]: draw}
    if draw.suffix.lower() in images.SUFFIXES and not os.path.isdir(draw):
        raise FerError(f"{draw}: of several images, --draw takes a folder")
    absolute = [Path(os.path.abspath(path)) for path in paths]  # with no .. in it
    top = os.path.commonpath([path.parent for path in absolute]) if paths else ""
    targets = {}
    for path, full in zip(paths, absolute, strict=True):
        suffix = "" if full.suffix.lower() in images.SUFFIXES else ".png"
        targets[path] = draw / full.relative_to(top).with_name(full.name + suffix)
    return targets


def _check_targets(inputs: list[Path], written: list[Path]) -> None:
    """Raise FerError for what is no image's name, an input's, or two images'."""
    _keep_originals(inputs, written)
    places = Counter(map(os.path.realpath, written))
    for target in written:
        if target.suffix.lower() not in images.SUFFIXES:
            raise FerError(f"{target}: an image is written as one of {sorted(images.SUFFIXES)}")
        if places[os.path.realpath(target)] > 1:
            raise FerError(f"{target}: two images would be written there; name another place")


def _keep_originals(inputs: list[Path], written: list[Path]) -> None:
    """Raise FerError where a file that is to be read would be written to."""
    originals = {os.path.realpath(path) for path in inputs}
    for target in written:
        if os.path.realpath(target) in originals:
            raise FerError(f"{target}: is an input, and is not overwritten; name another place")


def _keep_others(inputs: list[Path], targets: dict[Path, Path], draw: Path | None) -> None:
    """Raise FerError where an image would replace a file in a folder which the inputs lie in.

    It may be an original as well, as a folder's own folders are not read.
    """
    folder = os.path.realpath(draw or "")
    if not draw or not os.path.isdir(folder):
        return
    places = [
        os.path.realpath(p) for path in inputs if path != _STANDARD for p in (path, path.parent)
    ]
    if any(Path(place).is_relative_to(folder) for place in places):
        for target in targets.values():
            if os.path.lexists(target):
                raise FerError(
                    f"{target}: is there already, beside what is read; name another place"
                )


def _save(image: Image.Image, path: Path) -> None:
    with atomic_path(path) as temporary:
        try:
            image.save(temporary)
        except (ValueError, OverflowError) as error:  # more pixels than WebP or GIF has
            raise FerError(f"{path}: cannot be written: {error}") from error


def _predict_video(recognizer: Recognizer, show: Show, arguments: argparse.Namespace) -> None:
    try:  # here, as OpenCV takes its time to load
        from fer.predict.tracking import Tracker
        from fer.predict.video import Video, writer
    except ImportError as error:
        raise FerError("videos need OpenCV: pip install opencv-python-headless") from error

    if arguments.video and arguments.draw:
        _keep_originals([arguments.video], [arguments.draw])
    video = Video(arguments.video)
    name = str(arguments.video or "webcam")
    find = partial(recognizer.predict, face=True) if arguments.face else Tracker(recognizer)
    drawn = writer(arguments.draw, video.rate) if arguments.draw else contextlib.nullcontext()
    # Ctrl-C is how one ends a camera, whose film is kept.
    ends = contextlib.suppress(KeyboardInterrupt) if arguments.webcam else contextlib.nullcontext()
    with drawn as file, ends:
        for seconds, frame in video:
            faces = find(frame)
            show((name, seconds, faces))
            if file:
                file.write(drawing.mark(frame, faces))


def _say(line: str) -> None:
    try:
        print(line, flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        _drop_output()
        raise FerError(f"standard output: cannot be written: {error.strerror}") from error


def _drop_output() -> None:
    """What Python still has to write at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _show_text(found: Found) -> None:
    file, seconds, faces = found
    name = file if seconds is None else f"{file}, {seconds:.2f} s"
    if not faces:
        _say(f"{name}: no face found")
    for face in faces:
        left, top, right, bottom = face.box
        probability = face.probabilities[face.emotion]
        who = "" if face.id is None else f"face {face.id}: "
        _say(f"{name}: {who}{face.emotion} {probability:.0%}, at {left},{top} to {right},{bottom}")


def _show_json(found: Found) -> None:
    file, seconds, faces = found
    listed = [
        ({} if face.id is None else {"id": face.id})
        | {
            "box": face.box,
            "emotion": face.emotion,
            "probabilities": {name: round(p, 4) for name, p in face.probabilities.items()},
        }
        for face in faces
    ]
    place = {"file": file} if seconds is None else {"file": file, "seconds": round(seconds, 3)}
    _say(json.dumps(place | {"faces": listed}))


def _csv_shower(classes: list[str]) -> Show:
    _say(_csv_line(table.columns(classes)))

    def show(found: Found) -> None:
        for row in table.rows(found, classes):
            _say(_csv_line(row))

    return show


def _csv_line(row: Sequence[str | float | None]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(row)
    return line.getvalue()
