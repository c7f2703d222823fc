"""The command `fer predict` for images; `predict_video` has that for videos."""

import argparse
import glob
import io
import os
import struct
import sys
from collections import Counter
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from PIL import Image

from fer.cli import printing
from fer.cli.options import Commands, add_model_options, load_recognizer, path_argument
from fer.cli.printing import Printer
from fer.core.errors import FerError
from fer.core.files import atomic_path
from fer.core.threads import map_in_order
from fer.images import reading
from fer.predict import drawing
from fer.predict.recognizer import SMALL_FACE, Face, Recognizer

_STDIN = Path("-")

_EXAMPLES = """examples:
  fer predict photo.jpg                         the emotion of each face, as text
  fer predict photos/ --csv > faces.csv         one row per face
  fer predict a.jpg b.jpg --draw marked/        the images with boxes, in a folder
  fer predict photo.jpg --explain why.png       class activation maps
  fer predict --video in.mp4 --draw out.mp4     needs pip install 'fer-pipeline[video]'
  fer predict --video in.mp4 --plot out.png     each face's emotions over time
  cat photo.jpg | fer predict - --json
"""


def add_to(commands: Commands) -> None:
    """Add this command to the command line."""
    predict = commands.add_parser(
        "predict",
        help="predict the emotions of the faces in images or in a video",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    predict.add_argument(
        "images",
        nargs="*",
        type=path_argument,
        help="image files, or folders of them; - is standard input",
    )
    predict.add_argument(
        "--video",
        metavar="FILE_OR_URL",
        help="a video, or the URL of a stream such as rtsp://192.168.0.2/live, in place of images",
    )
    predict.add_argument(
        "--webcam",
        nargs="?",
        const="0",
        metavar="CAMERA",
        help="a camera by its number (default: 0) or name, until Ctrl-C",
    )
    predict.add_argument(
        "--every",
        type=int,
        default=1,
        metavar="N",
        help="of a video, 2 reads each second frame, 3 each third one, ... (default: 1)",
    )
    predict.add_argument(
        "--plot",
        type=path_argument,
        help="of a video, write a plot of the emotions of each face over time",
    )
    predict.add_argument("--recursive", action="store_true", help="read folders in folders too")
    predict.add_argument("--face", action="store_true", help="each image is one face already")
    add_model_options(predict)
    output = predict.add_mutually_exclusive_group()
    output.add_argument(
        "--json",
        action="store_true",
        help="print a JSON object per image or frame; a box may reach beyond the edge",
    )
    output.add_argument(
        "--csv", action="store_true", help="print a row per face, and one per image without faces"
    )
    predict.add_argument(
        "--draw",
        type=path_argument,
        help="write the image or the video with boxes; for several images, name a folder (files in "
        "it are never replaced if the images are in it too)",
    )
    predict.add_argument(
        "--explain",
        type=path_argument,
        help="write an image with the class activation map of each face",
    )
    predict.set_defaults(run=_predict)


def _predict(arguments: argparse.Namespace) -> None:
    is_video = arguments.video is not None or arguments.webcam is not None
    sources = [arguments.images or None, arguments.video, arguments.webcam]
    if sum(source is not None for source in sources) != 1:
        raise FerError("fer predict: takes images, --video or --webcam; give one of them")
    if (arguments.plot or arguments.every != 1) and not is_video:
        raise FerError("--plot and --every: are for videos; give --video or --webcam")
    if arguments.explain and not arguments.images:
        raise FerError("--explain: works for images only; give images")
    recognizer = load_recognizer(arguments)
    show: Printer = printing.print_text
    if arguments.json:
        show = printing.print_json
    elif arguments.csv:
        show = printing.csv_printer(recognizer.classes)
    run = _predict_video if is_video else _predict_images
    run(recognizer, show, arguments)


def _predict_images(recognizer: Recognizer, show: Printer, arguments: argparse.Namespace) -> None:
    sources = [path for pattern in arguments.images for path in _expand(pattern)]
    paths, failed = _list_images(sources, arguments.recursive)
    targets = _targets(sources, paths, arguments.draw) if arguments.draw else {}
    _check_targets(paths, [*targets.values(), *filter(None, [arguments.explain])])
    folders = sources if arguments.recursive else []
    _protect_existing_files([*folders, *paths], targets, arguments.draw)
    explained: list[tuple[str, Face]] = []
    small = 0
    # Read in the main thread, because Ctrl-C would wait for a reading worker.
    stdin = sys.stdin.buffer.read() if _STDIN in paths else b""
    predict = partial(_predict_file, recognizer, arguments.face, stdin)
    results = map_in_order(predict, paths, recognizer.threads)
    for path, result in zip(paths, results, strict=True):
        if isinstance(result, FerError):
            _print_error(result)
            failed = True
            continue
        image, faces = result
        show((str(path), None, faces))
        small += sum(face.box[2] - face.box[0] < SMALL_FACE for face in faces)
        explained += [(str(path), face) for face in faces] if arguments.explain else []
        if arguments.draw:
            try:
                _save(drawing.draw_boxes(image, faces), targets[path])
            except FerError as error:
                _print_error(error)
                failed = True
    if explained:
        _save(drawing.draw_explanations(explained, recognizer.classes), arguments.explain)
    elif arguments.explain:
        print(f"warning: no face found: {arguments.explain} is not written", file=sys.stderr)
    if small:
        print(
            f"warning: {small} faces are under {SMALL_FACE} pixels; their emotions are guesses",
            file=sys.stderr,
        )
    if failed:
        sys.exit(1)


def _predict_file(
    recognizer: Recognizer, face: bool, stdin: bytes, path: Path
) -> tuple[Image.Image, list[Face]] | FerError:
    """Return an image and its faces; errors are returned, so that the other images go on."""
    try:
        source = (io.BytesIO(stdin), "-") if path == _STDIN else (path,)
        image = reading.read(*source)
    except FerError as error:
        return error
    try:
        return image, recognizer.predict(image, face=face)
    except FerError as error:
        return FerError(f"{path}: {error}")


def _without_scheme(name: str) -> str:
    """Return the path in a URL of a file, as file managers copy it; another name as it is."""
    return url2pathname(urlsplit(name).path) if name.startswith("file://") else name


def _print_error(error: FerError) -> None:
    print(f"error: {error}", file=sys.stderr)


def _list_images(arguments: list[Path], recursive: bool) -> tuple[list[Path], bool]:
    """Return the images among the arguments and in folders, and whether a folder failed."""
    paths: list[Path] = []
    failed = False
    for path in arguments:
        if not os.path.isdir(path):
            paths.append(path)
            continue
        found, errors = _list_folder(path, recursive)
        if not (found or errors):
            errors = [FerError(f"{path}: holds no images; name another folder")]
        paths += found
        for error in errors:
            _print_error(error)
            failed = True
    return list(dict.fromkeys(paths)), failed


def _expand(path: Path) -> list[Path]:
    """Return the files that a pattern such as *.jpg names, which Windows' shells pass on."""
    text = str(path)
    if os.path.lexists(path) or not glob.has_magic(text):
        return [path]
    return [Path(name) for name in sorted(glob.glob(text))] or [path]


def _list_folder(top: Path, recursive: bool) -> tuple[list[Path], list[FerError]]:
    """Return the images in a folder and an error per unreadable folder; tell what else is there.

    Hidden files and folders are ignored: macOS writes `._a.jpg` beside `a.jpg`.
    """
    errors: list[FerError] = []

    def add_error(error: OSError) -> None:
        errors.append(FerError(f"{error.filename}: cannot be read: {error.strerror}"))

    paths, others, folders_below, links = [], 0, 0, 0
    for parent, folders, names in os.walk(top, onerror=add_error):
        folders[:] = [name for name in folders if not name.startswith(".")]
        files = [Path(parent, name) for name in names if not name.startswith(".")]
        found = [path for path in files if path.suffix.lower() in reading.SUFFIXES]
        paths += found
        others += len(files) - len(found)
        links += sum(os.path.islink(os.path.join(parent, name)) for name in folders)
        if not recursive:
            folders_below = len(folders)
            folders.clear()
    ignored = {"files that are no images": others, "folders (use --recursive)": folders_below}
    if recursive:
        ignored["links to folders"] = links
    if any(ignored.values()):
        counts = ", ".join(f"{kind}: {count}" for kind, count in ignored.items() if count)
        print(f"note: {top}: ignored {counts}", file=sys.stderr)
    return sorted(paths), errors


def _targets(arguments: list[Path], paths: list[Path], draw: Path) -> dict[Path, Path]:
    """Return the file to write for each image.

    A single image goes to the file `draw`. Several images, or an existing folder `draw`, mean that
    images go into that folder, in the subfolders that they do not have in common. A name without
    the suffix of an image gets the suffix .png.
    """
    if len(paths) == 1 and not os.path.isdir(arguments[0]) and not os.path.isdir(draw):
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


def _check_targets(inputs: list[Path], targets: list[Path]) -> None:
    """Refuse targets that are inputs, are no image names, or belong to two images."""
    _protect_inputs(inputs, targets)
    counts = Counter(map(os.path.realpath, targets))
    for target in targets:
        if target.suffix.lower() not in reading.WRITABLE:
            suffixes = ", ".join(sorted(reading.WRITABLE))
            raise FerError(f"{target}: is no name for an image; use one of {suffixes}")
        if counts[os.path.realpath(target)] > 1:
            raise FerError(f"{target}: two images would be written there; name another place")


def _protect_inputs(inputs: list[Path], targets: list[Path]) -> None:
    """Refuse targets that are inputs."""
    originals = {os.path.realpath(path) for path in inputs}
    for target in targets:
        # samefile too: some systems ignore the case of names.
        if os.path.realpath(target) in originals or (
            os.path.exists(target)
            and any(os.path.samefile(target, path) for path in inputs if os.path.exists(path))
        ):
            raise FerError(f"{target}: is an input, and is not overwritten; name another place")


def _protect_existing_files(
    inputs: list[Path], targets: dict[Path, Path], draw: Path | None
) -> None:
    """Refuse to replace files in a folder that holds inputs, or that an input folder holds.

    Such a file may be an original too: some folders in an input folder are not read.
    """
    if not draw or not os.path.isdir(draw):
        return
    folder, sources = os.path.realpath(draw), [path for path in inputs if path != _STDIN]
    locations = [os.path.realpath(p) for path in sources for p in (path, path.parent)]
    tops = [os.path.abspath(path) for path in sources if os.path.isdir(path)]
    if any(Path(location).is_relative_to(folder) for location in locations) or any(
        Path(os.path.abspath(draw)).is_relative_to(top) or Path(folder).is_relative_to(top)
        for top in tops
    ):
        for target in targets.values():
            if os.path.lexists(target):
                raise FerError(f"{target}: exists in a folder with inputs; name another place")


def _save(image: Image.Image, path: Path) -> None:
    with atomic_path(path) as temporary:
        try:
            image.save(temporary)
        except (ValueError, OverflowError, struct.error) as error:  # too large for WebP or GIF
            raise FerError(f"{path}: cannot be written: {error}; use PNG") from error


def _predict_video(recognizer: Recognizer, show: Printer, arguments: argparse.Namespace) -> None:
    try:  # imported here, because PyAV is optional and slow to load
        from fer.cli.predict_video import predict_video
        from fer.video.reader import Camera, is_url
    except ModuleNotFoundError as error:
        if error.name not in ("av", "tqdm"):
            raise
        raise FerError(f"videos need {error.name}; pip install {error.name}") from error

    source: str | Path | Camera = arguments.video
    if arguments.webcam is not None:
        source = Camera(arguments.webcam)
    elif not is_url(arguments.video):
        source = path_argument(_without_scheme(arguments.video))
        _protect_inputs([source], list(filter(None, [arguments.draw, arguments.plot])))
    predict_video(
        recognizer,
        show,
        source,
        every=arguments.every,
        face=arguments.face,
        draw=arguments.draw,
        plot=arguments.plot,
    )
