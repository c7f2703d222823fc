"""The command `fer train`: run the pipeline on a folder of pictures."""

import argparse
import re
import signal
import subprocess
import sys
import unicodedata
from contextlib import suppress
from pathlib import Path

from fer.cli.options import Commands, path_argument
from fer.core.errors import FerError
from fer.core.files import read_rows


def add_to(commands: Commands) -> None:
    """Add this command to the command line."""
    train = commands.add_parser(
        "train", help="train on your own pictures: run the pipeline on a folder, archive or CSV"
    )
    train.add_argument(
        "data", type=path_argument, help="a folder or file, as docs/datasets.md describes"
    )
    train.add_argument(
        "-S", "--set-param", action="append", default=[], metavar="NAME=VALUE",
        help="change a parameter, as for dvc exp run",
    )  # fmt: skip
    train.set_defaults(run=_train)


def _train(arguments: argparse.Namespace) -> None:
    # These need the extra `train`.
    from ruamel.yaml import YAML

    from fer.core import params
    from fer.core.params import RESERVED, repository_root
    from fer.data import raw

    data, changes = arguments.data, arguments.set_param
    if not data.exists():
        raise FerError(f"{data}: no such file or folder; check the name")
    root = repository_root()
    if not (root / "dvc.yaml").is_file():
        raise FerError("fer train: runs in a clone of fer-pipeline; change to its folder")
    stem = data.resolve().name if data.is_dir() else data.name.partition(".")[0]
    plain = unicodedata.normalize("NFKD", stem).encode("ascii", "ignore").decode()
    name = re.sub(r"[^a-z0-9_]+", "-", plain.lower()).strip("-")
    # DVC's YAML takes some names for numbers, dates or truth values.
    is_text = bool(name) and YAML(typ="safe").load(name) == name
    if not is_text or name in {*RESERVED, "sample", "yes", "no", "on", "off", "nan", "inf"}:
        raise FerError(f"{data}: cannot be called {name!r} as a data set; rename it")
    if any(change.partition("=")[0].lstrip("+~").strip() == "dataset" for change in changes):
        raise FerError(f"-S dataset: follows from {data}; leave it out")
    folder = root / "data" / "raw" / name
    link = raw.link(data, folder)
    if link is None:
        raise FerError(f"{folder}: exists; rename {data}, or use dvc exp run -S dataset={name}")
    if link.is_symlink():
        _commit(root, link.relative_to(root))
    options = [option for change in [f"dataset={name}", *changes] for option in ("-S", change)]
    parameters = (root / "params.yaml").read_bytes()
    try:
        status = _run_to_its_end([sys.executable, "-m", "dvc", "exp", "run", *options], root)
        size = params.load(root / "params.yaml").size
    finally:  # DVC writes the values of -S into it
        (root / "params.yaml").write_bytes(parameters)
    if status:
        sys.exit(status)
    _print_results(root, name, size)


def _print_results(root: Path, name: str, size: str) -> None:
    """Print the accuracy on test, where model and report are, and how many labels look wrong."""
    from fer.report.read import read_json
    from fer.report.scores import interval

    results = read_json(root / "metrics" / name / size / "evaluate.json")
    accuracy, faces = results["int8"]["flip_averaged"]["accuracy"], results["faces"]["test"]
    low, high = interval(accuracy, faces)
    report = Path("plots", name, size, "report.html")
    suspects = len(read_rows(root / "data" / name / size / "suspects.csv"))
    print(
        f"Accuracy on {faces} test faces: {accuracy:.1%} (95 % interval: {low:.1%} to {high:.1%})"
    )
    print(f"The model: {Path('models', name, size, 'fer.int8.onnx')}")
    print(f"The report: {report}")
    print(f"{suspects} picture{' looks' if suspects == 1 else 's look'} mislabelled: {report}")


def _run_to_its_end(command: list[str], root: Path) -> int:
    """Run DVC and return its exit status, or 130 or 143 after Ctrl-C or SIGTERM.

    These end the stage. DVC, which would leave a lock and half an experiment, then ends by itself.
    """
    import psutil

    stopped: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: stopped.append(number))
    process = subprocess.Popen(command, cwd=root)
    while process.poll() is None:
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.2)
        if not stopped:
            continue
        with suppress(psutil.Error):  # a process may end meanwhile
            for child in psutil.Process(process.pid).children(recursive=True):
                if any("stages." in part for part in child.cmdline()):
                    child.terminate()
    return 128 + stopped[0] if stopped else process.returncode


def _commit(root: Path, link: Path) -> None:
    """Commit a link, because queued and temporary experiments have only what git tracks."""
    path = ["--", str(link)]
    for command in (
        ["add", "--force", *path],
        ["commit", "--quiet", "--no-verify", f"--message=Link {link}", "--only", *path],
        ["diff", "--quiet", "HEAD", *path],
    ):
        status = subprocess.run(["git", *command], cwd=root, capture_output=True).returncode
    if status:
        print(f"warning: {link} is not committed; dvc exp run --queue needs it", file=sys.stderr)
