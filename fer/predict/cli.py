"""The command `fer`."""

import argparse
import contextlib
import csv
import json
import os
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

from PIL import Image

from fer.errors import FerError, exit_on_error
from fer.files import atomic_path
from fer.predict import drawing, images
from fer.predict.recognizer import Face, Recognizer

Show = Callable[[str, float | None, list[Face]], None]
"""Prints the faces of an image, or of the frame at so many seconds of a video."""


def main() -> None:
    """Run the command line."""
    parser = _parser()
    arguments = parser.parse_args()
    if not arguments.command:
        parser.print_help()
        return
    try:
        exit_on_error(lambda: _predict(arguments))
    except BrokenPipeError:  # of `fer predict ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is still to flush
        sys.exit(1)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="fer", description="Facial emotion recognition.")
    parser.add_argument("--version", action="version", version=version("fer-pipeline"))
    predict = parser.add_subparsers(dest="command").add_parser(
        "predict", help="tell the emotions of the faces in images or in a video"
    )
    predict.add_argument("images", nargs="*", type=Path, help="files, or folders of them")
    predict.add_argument("--video", type=Path, help="a video, in place of images")
    predict.add_argument("--webcam", action="store_true", help="the camera, until Ctrl-C")
    predict.add_argument("--face", action="store_true", help="each image is one face already")
    predict.add_argument(
        "--model",
        default="float32",
        help="float32 (the default), int8, or an ONNX file that the stage quantize wrote",
    )
    form = predict.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print a JSON object an image or frame")
    form.add_argument("--csv", action="store_true", help="print a row a face")
    predict.add_argument(
        "--draw", type=Path, help="write the image or video with boxes; of several images, a folder"
    )
    predict.add_argument(
        "--explain", type=Path, help="write an image of what the model looked at in each face"
    )
    return parser


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
    paths = list(_files(arguments.images))
    targets = _targets(arguments.images, paths, arguments.draw) if arguments.draw else {}
    written = [*targets.values(), *filter(None, [arguments.explain])]
    for target in written:
        if target.suffix.lower() not in images.SUFFIXES:
            raise FerError(f"{target}: an image is written as one of {sorted(images.SUFFIXES)}")
    _keep_originals(paths, written)
    explained: list[Face] = []
    failed = False
    for path in paths:
        try:
            image = images.read(path)
            faces = recognizer.predict(image, face=arguments.face)
        except FerError as error:
            named = str(error) if str(path) in str(error) else f"{path}: {error}"
            print(f"error: {named}", file=sys.stderr)
            failed = True
            continue
        show(str(path), None, faces)
        explained += faces
        if arguments.draw:
            _save(drawing.mark(image, faces), targets[path])
    if arguments.explain and explained:
        _save(drawing.explain(explained, recognizer.classes), arguments.explain)
    if failed:
        sys.exit(1)


def _targets(given: list[Path], paths: list[Path], draw: Path) -> dict[Path, Path]:
    """Where each drawn image goes: to `draw`, or of several into a folder of that name."""
    if len(paths) == 1 and not given[0].is_dir():
        return {paths[0]: draw}
    if draw.suffix.lower() in images.SUFFIXES and not draw.is_dir():
        raise FerError(f"{draw}: of several images, --draw takes a folder")
    top = Path(os.path.commonpath([path.absolute().parent for path in paths]))
    return {path: draw / path.absolute().relative_to(top) for path in paths}


def _keep_originals(inputs: list[Path], written: list[Path]) -> None:
    """Raise FerError where a file that is to be read would be written to."""
    originals = {path.resolve() for path in inputs}
    for target in written:
        if target.resolve() in originals:
            raise FerError(f"{target}: is an input, and is not overwritten; name another place")


def _save(image: Image.Image, path: Path) -> None:
    with atomic_path(path) as temporary:
        image.save(temporary)


def _files(given: list[Path]) -> Iterator[Path]:
    for path in given:
        if not path.is_dir():
            yield path
            continue
        found = sorted(p for p in path.iterdir() if p.suffix.lower() in images.SUFFIXES)
        if not found:
            raise FerError(f"{path}: no images in this folder")
        yield from found


def _predict_video(recognizer: Recognizer, show: Show, arguments: argparse.Namespace) -> None:
    from fer.predict.video import Video, writer  # here, as OpenCV takes its time to load

    if arguments.video and arguments.draw:
        _keep_originals([arguments.video], [arguments.draw])
    video = Video(arguments.video)
    name = str(arguments.video or "webcam")
    drawn = writer(arguments.draw, video.rate) if arguments.draw else contextlib.nullcontext()
    with drawn as file, contextlib.suppress(KeyboardInterrupt):
        for number, frame in enumerate(video):
            faces = recognizer.predict(frame, face=arguments.face)
            show(name, number / video.rate, faces)
            if file:
                file.write(drawing.mark(frame, faces))


def _show_text(file: str, seconds: float | None, faces: list[Face]) -> None:
    name = file if seconds is None else f"{file}, {seconds:.2f} s"
    if not faces:
        print(f"{name}: no face found", flush=True)
    for face in faces:
        left, top, right, bottom = face.box
        probability = face.probabilities[face.emotion]
        print(
            f"{name}: {face.emotion} {probability:.0%}, at {left},{top} to {right},{bottom}",
            flush=True,
        )


def _show_json(file: str, seconds: float | None, faces: list[Face]) -> None:
    found = [
        {
            "box": face.box,
            "emotion": face.emotion,
            "probabilities": {name: round(p, 4) for name, p in face.probabilities.items()},
        }
        for face in faces
    ]
    place = {"file": file} if seconds is None else {"file": file, "seconds": round(seconds, 3)}
    print(json.dumps(place | {"faces": found}), flush=True)


def _csv_shower(classes: list[str]) -> Show:
    rows = csv.writer(sys.stdout, lineterminator="\n")
    rows.writerow(["file", "seconds", "left", "top", "right", "bottom", "emotion", *classes])

    def show(file: str, seconds: float | None, faces: list[Face]) -> None:
        at = "" if seconds is None else round(seconds, 3)
        for face in faces:
            probabilities = [round(p, 4) for p in face.probabilities.values()]
            rows.writerow([file, at, *face.box, face.emotion, *probabilities])
        sys.stdout.flush()

    return show
