"""The command `fer predict`: its options; `predict_images` and `predict_video` run it."""

import argparse
import mimetypes

from fer.cli import printing
from fer.cli.options import Commands, add_model_options, load_recognizer, path_argument
from fer.cli.predict_images import run_on_images
from fer.cli.printing import Printer
from fer.core.errors import FerError


def add_to(commands: Commands) -> None:
    """Add this command to the command line."""
    predict = commands.add_parser(
        "predict",
        help="predict the emotions of the faces in images or in a video",
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
        help="a video, or the URL of a stream such as rtsp://192.168.0.2/live, in place of images; "
        "needs pip install 'fer-pipeline[video]'",
    )
    predict.add_argument(
        "--webcam",
        nargs="?",
        const="0",
        metavar="CAMERA",
        help="a camera by its number (default: 0), until Ctrl-C",
    )
    predict.add_argument(
        "--every",
        type=int,
        default=1,
        metavar="N",
        help="of a video, 2 reads each second frame, 3 each third one, ... (default: 1)",
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
    predict.set_defaults(run=_predict)


def _predict(arguments: argparse.Namespace) -> None:
    is_video = arguments.video is not None or arguments.webcam is not None
    sources = [arguments.images or None, arguments.video, arguments.webcam]
    if sum(source is not None for source in sources) != 1:
        raise FerError("fer predict: takes images, --video or --webcam; give one of them")
    if arguments.every != 1 and not is_video:
        raise FerError("--every: works for videos only; give --video or --webcam")
    if arguments.face and is_video:
        raise FerError("--face: works for images only; give images")
    for path in arguments.images:
        if (mimetypes.guess_type(path)[0] or "").startswith("video/"):
            raise FerError(f"{path}: is a video; give it to --video")
    recognizer = load_recognizer(arguments)
    show: Printer = printing.print_text
    if arguments.json:
        show = printing.print_json
    elif arguments.csv:
        show = printing.csv_printer(recognizer.classes)
    if is_video:
        from fer.cli.predict_video import run_on_video  # PyAV is optional and slow to load

        run_on_video(recognizer, show, arguments)
    else:
        run_on_images(recognizer, show, arguments)
