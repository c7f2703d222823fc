"""The command `fer export`."""

import argparse

from fer.cli.options import Commands, path_argument


def add_to(commands: Commands) -> None:
    """Add this command to the command line."""
    export = commands.add_parser("export", help="convert a model for another runtime")
    export.add_argument(
        "model", type=path_argument, help="a PyTorch file of the pipeline, or an ONNX file"
    )
    export.add_argument(
        "--format",
        required=True,
        choices=("onnx", "openvino"),
        help="openvino takes ONNX files too, also in int8",
    )
    export.add_argument("--out", required=True, type=path_argument, help="the file to write")
    export.set_defaults(run=_export)


def _export(arguments: argparse.Namespace) -> None:
    from fer.deploy.convert import convert  # which needs the extra `train`

    difference = convert(arguments.model, arguments.format, arguments.out)
    print(f"{arguments.out}: probabilities differ by at most {difference:.5f} from the original")
