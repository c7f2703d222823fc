"""The command `fer export`."""

import argparse

from fer.cli.options import Commands, path_argument
from fer.core.errors import FerError


def add_to(commands: Commands) -> None:
    """Add this command to the command line."""
    export = commands.add_parser("export", help="convert a model for another runtime")
    export.add_argument(
        "model",
        nargs="?",
        type=path_argument,
        help="a PyTorch file of the pipeline, or an ONNX file; with --whole an ONNX file or nano "
        "(default), small, base or large",
    )
    export.add_argument(
        "--format",
        choices=("onnx", "openvino"),
        help="openvino takes ONNX files too, also in int8",
    )
    export.add_argument("--out", type=path_argument, help="the file to write")
    export.add_argument(
        "--whole",
        type=path_argument,
        metavar="FILE",
        help="write one ONNX graph from a photo to boxes and probabilities, in place of --format "
        "and --out (docs/graph.md)",
    )
    export.set_defaults(run=_export)


def _export(arguments: argparse.Namespace) -> None:
    if bool(arguments.whole) == bool(arguments.format or arguments.out):
        raise FerError("fer export needs either --whole FILE, or --format and --out")
    if arguments.whole:
        from fer.deploy.whole import export_whole  # which needs the extra `train`

        difference = export_whole(str(arguments.model or "nano"), arguments.whole)
        target, original = arguments.whole, "Recognizer's"
    else:
        if not (arguments.model and arguments.format and arguments.out):
            raise FerError("fer export needs a model, --format and --out; name all three")
        from fer.deploy.convert import convert  # which needs the extra `train`

        difference = convert(arguments.model, arguments.format, arguments.out)
        target, original = arguments.out, "the original"
    print(f"{target}: probabilities differ by at most {difference:.5f} from {original}")
