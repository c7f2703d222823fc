"""The command `fer export`."""

import argparse
from pathlib import Path

from fer.cli.options import Commands, path_argument
from fer.cli.outputs import protect_inputs
from fer.core.errors import FerError
from fer.predict.recognizer import RELEASED, model_path


def add_to(commands: Commands) -> None:
    """Add this command to the command line."""
    export = commands.add_parser("export", help="convert a model for another runtime")
    export.add_argument(
        "model",
        nargs="?",
        type=_model,
        help="a PyTorch file of the pipeline, an ONNX file, or nano, small, base or large; with "
        "--whole by default nano, and no PyTorch file",
    )
    export.add_argument(
        "--format",
        choices=("onnx", "openvino"),
        help="openvino writes two files, of which the one beside --out has the suffix .bin",
    )
    export.add_argument("--out", type=path_argument, help="the file to write")
    export.add_argument(
        "--flip",
        action="store_true",
        help="average over each face and its mirror image, as fer predict does (default: one view)",
    )
    export.add_argument(
        "--whole",
        type=path_argument,
        metavar="FILE",
        help="write one ONNX graph from a photo to boxes and probabilities, in place of --format "
        "and --out (docs/graph.md)",
    )
    export.set_defaults(run=_export)


def _model(text: str) -> Path:
    return model_path(text) if text in RELEASED else path_argument(text)


def _export(arguments: argparse.Namespace) -> None:
    model, out, whole = arguments.model, arguments.out, arguments.whole
    if whole and not (arguments.format or out or arguments.flip):
        from fer.deploy.whole import export_whole  # which needs the extra `train`

        model = model or model_path("nano")
        protect_inputs([whole], [model])
        difference = export_whole(model, whole)
        print(f"{whole}: probabilities differ by at most {difference:.5f} from Recognizer's")
    elif model and out and arguments.format and not whole:
        _convert(model, arguments.format, out, arguments.flip)
    else:
        raise FerError("fer export: name either a model, --format and --out, or --whole FILE")


def _convert(model: Path, kind: str, out: Path, flip: bool) -> None:
    # These need the extra `train`.
    from fer.deploy.convert import convert
    from fer.deploy.runtimes import default_precision

    runtime = "ONNX Runtime"
    protect_inputs([out], [model])
    difference = convert(model, kind, out, flip)
    if kind == "openvino":
        print(f"{out}: needs {out.with_suffix('.bin').name} beside it")
        runtime = f"OpenVINO (here {default_precision()}; INFERENCE_PRECISION_HINT=f32 is closer)"
    print(
        f"{out}: probabilities differ by at most {difference:.5f} from the original, with the "
        f"default options of {runtime}"
    )
    views = "averages over each face and its mirror image, as fer predict does"
    print(f"{out}: {views if flip else f'sees one view of a face; --flip {views}'}")
