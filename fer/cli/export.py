"""The command `fer export`."""

import argparse
from pathlib import Path

from fer.cli.options import Commands, path_argument
from fer.cli.outputs import protect_inputs
from fer.predict.recognizer import RELEASED, model_path


def add_to(commands: Commands) -> None:
    """Add this command to the command line."""
    export = commands.add_parser("export", help="convert a model for another runtime")
    export.add_argument(
        "model",
        type=_model,
        help="a PyTorch file of the pipeline, an ONNX file, or nano, small, base or large",
    )
    export.add_argument(
        "--format",
        required=True,
        choices=("onnx", "openvino"),
        help="openvino writes two files, of which the one beside --out has the suffix .bin",
    )
    export.add_argument("--out", required=True, type=path_argument, help="the file to write")
    export.add_argument(
        "--flip",
        action="store_true",
        help="average over each face and its mirror image, as fer predict does (default: one view)",
    )
    export.set_defaults(run=_export)


def _model(text: str) -> Path:
    return model_path(text) if text in RELEASED else path_argument(text)


def _export(arguments: argparse.Namespace) -> None:
    # These need the extra `train`.
    from fer.deploy.convert import convert
    from fer.deploy.runtimes import default_precision

    out, runtime = arguments.out, "ONNX Runtime"
    protect_inputs([out], [arguments.model])
    difference = convert(arguments.model, arguments.format, out, arguments.flip)
    if arguments.format == "openvino":
        print(f"{out}: needs {out.with_suffix('.bin').name} beside it")
        runtime = f"OpenVINO (here {default_precision()}; INFERENCE_PRECISION_HINT=f32 is closer)"
    print(
        f"{out}: probabilities differ by at most {difference:.5f} from the original, with the "
        f"default options of {runtime}"
    )
    views = "averages over each face and its mirror image, as fer predict does"
    print(f"{out}: {views if arguments.flip else f'sees one view of a face; --flip {views}'}")
