"""The command `fer` with all its commands."""

import argparse
import re
import subprocess
import sys
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from fer.errors import FerError
from fer.predict.cli import (
    Commands,
    add_model_options,
    build_parser,
    load_recognizer,
    path_argument,
    run,
)

OUTPUTS = ("confusion.png", "mistakes.png", "predictions.csv")
"""Files that `fer val --out` writes."""


def main() -> None:
    """Run the command line."""
    run(build_parser(_add_val, _add_train, _add_export))


def _add_val(commands: Commands) -> None:
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
        from fer.report.validation import validate
    except ModuleNotFoundError as error:
        raise _needs_training(error) from error
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


def _add_train(commands: Commands) -> None:
    train = commands.add_parser(
        "train", help="train on your own pictures: run the pipeline on a folder"
    )
    train.add_argument(
        "folder", type=path_argument, help="the data set, as docs/datasets.md describes"
    )
    train.add_argument(
        "-S", "--set-param", action="append", default=[], metavar="NAME=VALUE",
        help="change a parameter, as for dvc exp run",
    )  # fmt: skip
    train.set_defaults(run=_train)


def _train(arguments: argparse.Namespace) -> None:
    try:
        from ruamel.yaml import YAML

        from fer.data import raw
        from fer.params import RESERVED, repository_root
    except ModuleNotFoundError as error:
        raise _needs_training(error) from error
    folder, changes = arguments.folder, arguments.set_param
    if not folder.is_dir():
        raise FerError(f"{folder}: no such folder; check the name")
    root = repository_root()
    if not (root / "dvc.yaml").is_file():
        raise FerError("fer train: runs in a clone of fer-pipeline; change to its folder")
    plain = unicodedata.normalize("NFKD", folder.resolve().name).encode("ascii", "ignore").decode()
    name = re.sub(r"[^a-z0-9_]+", "-", plain.lower()).strip("-")
    # DVC's YAML takes some names for numbers, dates or truth values.
    is_text = bool(name) and YAML(typ="safe").load(name) == name
    if not is_text or name in {*RESERVED, "sample", "yes", "no", "on", "off", "nan", "inf"}:
        raise FerError(f"{folder}: cannot be called {name!r} as a data set; rename the folder")
    if any(change.partition("=")[0].lstrip("+~").strip() == "dataset" for change in changes):
        raise FerError("-S dataset: follows from the folder; leave it out")
    target = root / "data" / "raw" / name
    if not raw.relink(folder, target):
        raise FerError(f"{target}: exists; rename {folder}, or use dvc exp run -S dataset={name}")
    options = [option for change in [f"dataset={name}", *changes] for option in ("-S", change)]
    command = [sys.executable, "-m", "dvc", "exp", "run", *options]
    status = subprocess.run(command, cwd=root).returncode
    if status:
        sys.exit(status)
    print(f"The model: {Path('models', name, 'fer.int8.onnx')}")
    print(f"The report: {Path('plots', name, 'report.html')}")


def _add_export(commands: Commands) -> None:
    export = commands.add_parser("export", help="convert a model for another runtime")
    export.add_argument(
        "model", type=path_argument, help="a PyTorch file of the pipeline, or an ONNX file"
    )
    export.add_argument(
        "--format",
        required=True,
        choices=("litert", "onnx", "openvino", "torchscript"),
        help="openvino takes ONNX files too, also in int8; litert needs pip install litert-torch",
    )
    export.add_argument("--out", required=True, type=path_argument, help="the file to write")
    export.set_defaults(run=_export)


def _export(arguments: argparse.Namespace) -> None:
    try:
        from fer.deploy.convert import convert
    except ModuleNotFoundError as error:
        raise _needs_training(error) from error
    difference = convert(arguments.model, arguments.format, arguments.out)
    print(f"{arguments.out}: probabilities differ by at most {difference:.5f} from the original")


def _needs_training(error: ModuleNotFoundError) -> FerError:
    return FerError(f"this command needs {error.name}; pip install 'fer-pipeline[train]'")


if __name__ == "__main__":
    main()
