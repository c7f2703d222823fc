"""The command `fer val`: score a model on labelled pictures."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from fer.cli.options import (
    Commands,
    add_model_options,
    load_recognizer,
    needs_training,
    path_argument,
)
from fer.core.errors import FerError

OUTPUTS = ("confusion.png", "mistakes.png", "predictions.csv")
"""Files that `fer val --out` writes."""


def add_to(commands: Commands) -> None:
    """Add this command to the command line."""
    val = commands.add_parser("val", help="score a model on labelled pictures")
    val.add_argument(
        "pictures", type=path_argument, help="a folder or a file, as docs/datasets.md describes"
    )
    val.add_argument(
        "--split", help="train, val or test (default: test where there is one, else all faces)"
    )
    val.add_argument(
        "--detect", action="store_true", help="find the largest face in each picture first"
    )
    val.add_argument(
        "--out",
        type=path_argument,
        metavar="FOLDER",
        help="write confusion.png, mistakes.png and predictions.csv there",
    )
    add_model_options(val)
    val.set_defaults(run=_val)


def _val(arguments: argparse.Namespace) -> None:
    try:  # imported here, because predicting does not need them
        from fer.cli.validation import validate
    except ModuleNotFoundError as error:
        raise needs_training(error) from error
    out, pictures = arguments.out, arguments.pictures
    if out:
        _refuse_folder_of_pictures(out, pictures)
    recognizer = load_recognizer(arguments)
    validation = validate(recognizer, pictures, arguments.split, arguments.detect)
    if out:
        folder = pictures if pictures.is_dir() else pictures.parent
        _refuse_inputs(out, [pictures, *(folder / source for source in validation.sources)])
        validation.write(out)
    for line in validation.summary():
        print(line)


def _refuse_folder_of_pictures(out: Path, pictures: Path) -> None:
    """Refuse to write where the pictures are, before the time of a prediction is spent."""
    is_inside = out.resolve().is_relative_to(pictures.resolve())
    if is_inside or (pictures.is_file() and out.resolve() == pictures.resolve().parent):
        raise FerError(f"--out {out}: is the folder with the pictures; name another place")


def _refuse_inputs(out: Path, inputs: Sequence[Path]) -> None:
    """Refuse to replace a file that was read, also by a link or another case of its name."""
    for target in (out / name for name in OUTPUTS):
        if target.exists() and any(path.exists() and target.samefile(path) for path in inputs):
            raise FerError(f"{target}: is an input, and is not overwritten; name another place")
