"""The command `fer train`: run the pipeline on a folder of pictures."""

import argparse
import re
import subprocess
import sys
import unicodedata
from pathlib import Path

from fer.cli.options import Commands, path_argument
from fer.core.errors import FerError
from fer.core.files import read_rows


def add_to(commands: Commands) -> None:
    """Add this command to the command line."""
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
    # These need the extra `train`.
    from ruamel.yaml import YAML

    from fer.core.params import RESERVED, repository_root
    from fer.data import raw

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
    if not raw.link_folder(folder, target):
        raise FerError(f"{target}: exists; rename {folder}, or use dvc exp run -S dataset={name}")
    options = [option for change in [f"dataset={name}", *changes] for option in ("-S", change)]
    command = [sys.executable, "-m", "dvc", "exp", "run", *options]
    status = subprocess.run(command, cwd=root).returncode
    if status:
        sys.exit(status)
    print(f"The model: {Path('models', name, 'fer.int8.onnx')}")
    report = Path("plots", name, "report.html")
    print(f"The report: {report}")
    suspects = len(read_rows(root / "data" / name / "suspects.csv"))
    print(
        f"{suspects} {'picture looks' if suspects == 1 else 'pictures look'} mislabelled: {report}"
    )
