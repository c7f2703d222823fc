"""Run `fer predict` on images."""

import argparse
import io
import os
import struct
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from PIL import Image

from fer.cli.outputs import protect_inputs
from fer.cli.printing import Printer
from fer.core.errors import FerError
from fer.core.files import atomic_path
from fer.core.threads import map_in_order
from fer.images import reading
from fer.predict import drawing
from fer.predict.recognizer import SMALL_FACE, Face, Recognizer

_STDIN = Path("-")


def run_on_images(recognizer: Recognizer, show: Printer, arguments: argparse.Namespace) -> None:
    """Print the faces of each image, and draw them; exit with 1 if an image fails."""
    sources, recursive, draw = arguments.images, arguments.recursive, arguments.draw
    images = [path for source in sources for path in _list_images(source, recursive)]
    paths = list(dict.fromkeys(images))
    targets = _targets(sources, paths, draw) if draw else {}
    for output in targets.values():
        if output.suffix.lower() not in reading.WRITABLE:
            raise FerError(f"{output}: is no name for an image; use the suffix .png or .jpg")
    folders = [path for path in sources if recursive and os.path.isdir(path)]
    inputs = [path for path in paths if path != _STDIN]
    protect_inputs(targets.values(), [*inputs, *folders], draw)
    # Read in the main thread, because Ctrl-C would wait for a reading worker.
    stdin = sys.stdin.buffer.read() if _STDIN in paths else b""
    predict = partial(_predict_file, recognizer, arguments.face, stdin, targets)
    small, has_failed = 0, False
    results = map_in_order(predict, paths, recognizer.threads)
    for path, (faces, error) in zip(paths, results, strict=True):
        if faces is not None:
            show((str(path), None, faces))
            small += sum(face.box[2] - face.box[0] < SMALL_FACE for face in faces)
        if error:
            print(f"error: {error}", file=sys.stderr)
            has_failed = True
    if small:
        text = f"{small} faces are under {SMALL_FACE} pixels; their emotions are guesses"
        print(f"warning: {text}", file=sys.stderr)
    if has_failed:
        sys.exit(1)


def _predict_file(
    recognizer: Recognizer, face: bool, stdin: bytes, targets: Mapping[Path, Path], path: Path
) -> tuple[list[Face] | None, FerError | None]:
    """Return the faces in an image, after drawing them; and the error of what failed."""
    faces = None
    try:
        source = (io.BytesIO(stdin), "-") if path == _STDIN else (path,)
        image = reading.read(*source)
        try:
            faces = recognizer.predict(image, face=face)
        except FerError as error:
            raise FerError(f"{path}: {error}") from error
        if path in targets:
            _save(drawing.draw_boxes(image, faces), targets[path])
    except FerError as error:
        return faces, error
    return faces, None


def _list_images(source: Path, recursive: bool) -> list[Path]:
    """Return a file itself, or the images in a folder.

    Hidden files and folders are ignored: macOS writes `._a.jpg` beside `a.jpg`.
    """
    if not os.path.isdir(source):
        return [source]
    images: list[Path] = []
    for parent, folders, names in os.walk(source, onerror=_refuse_folder):
        folders[:] = [name for name in folders if recursive and not name.startswith(".")]
        files = [Path(parent, name) for name in names if not name.startswith(".")]
        images += [path for path in files if path.suffix.lower() in reading.SUFFIXES]
    if not images:
        raise FerError(f"{source}: holds no images; name another folder, or use --recursive")
    return sorted(images)


def _refuse_folder(error: OSError) -> None:
    raise FerError(f"{error.filename}: cannot be read: {error.strerror}") from error


def _targets(sources: list[Path], paths: list[Path], draw: Path) -> dict[Path, Path]:
    """Return the file to write for each image.

    A single image goes to the file `draw`. Several images, or an existing folder `draw`, mean that
    images go into that folder, in the subfolders that they do not have in common. A name without
    the suffix of an image gets the suffix .png.
    """
    if len(paths) == 1 and not os.path.isdir(sources[0]) and not os.path.isdir(draw):
        return {paths[0]: draw}
    if draw.suffix.lower() in reading.WRITABLE and not os.path.isdir(draw):
        raise FerError(f"{draw}: is the name of a file; for several images, name a folder")
    absolute = [Path(os.path.abspath(path)) for path in paths]  # removes ..
    top = os.path.commonpath([path.parent for path in absolute]) if paths else ""
    targets = {}
    for path, full in zip(paths, absolute, strict=True):
        suffix = "" if full.suffix.lower() in reading.WRITABLE else ".png"
        targets[path] = draw / full.relative_to(top).with_name(full.name + suffix)
    return targets


def _save(image: Image.Image, path: Path) -> None:
    with atomic_path(path) as temporary:
        try:
            image.save(temporary)
        except (ValueError, OverflowError, struct.error) as error:  # too large for WebP or GIF
            raise FerError(f"{path}: cannot be written: {error}; use PNG") from error
