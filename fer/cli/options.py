"""Options that several commands share."""

import argparse
import os
from pathlib import Path
from typing import TypeAlias

import onnxruntime as ort

from fer.core.errors import FerError
from fer.predict.recognizer import Recognizer

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
"""What `ArgumentParser.add_subparsers` returns."""


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that `load_recognizer` reads."""
    parser.add_argument(
        "--model",
        default="nano",
        help="nano (default), small, base or large, from the fastest to the most accurate; or an "
        "ONNX file from stage quantize",
    )
    parser.add_argument(
        "--precision",
        choices=("int8", "float32"),
        default="int8",
        help="of a released model (default: int8; only nano is released in float32)",
    )
    parser.add_argument(
        "--prior",
        choices=("training", "uniform"),
        default="training",
        help="how frequent each emotion is before looking: as in the training faces (default), or "
        "all equally",
    )
    parser.add_argument(
        "--min-confidence",
        type=float,
        default=0.0,
        metavar="PROBABILITY",
        help='the emotion of a face is "unsure" below this probability, 0 to 1 (default: 0)',
    )
    parser.add_argument(
        "--min-face",
        type=int,
        default=48,
        metavar="PIXELS",
        help="side of the smallest faces to search in large images (default: 48); more is faster",
    )
    parser.add_argument(
        "--min-score",
        type=float,
        default=0.6,
        metavar="SCORE",
        help="score, 0 to 1, from which a detection counts as a face (default: 0.6)",
    )
    parser.add_argument(
        "--provider",
        default="cpu",
        help="the hardware: cpu (the default), or cuda, dml, openvino, coreml, ... with the build "
        "of ONNX Runtime that has it",
    )


def load_recognizer(arguments: argparse.Namespace) -> Recognizer:
    """Return the recognizer that the options choose."""
    provider, known = arguments.provider, ort.get_available_providers()
    full_names = [p for p in known if p.lower() == f"{provider.lower()}executionprovider"]
    return Recognizer(
        arguments.model,
        precision=arguments.precision,
        prior=arguments.prior,
        min_confidence=arguments.min_confidence,
        providers=full_names or [provider],
        min_face=arguments.min_face,
        min_score=arguments.min_score,
    )


def path_argument(text: str) -> Path:
    """Return the path in an argument; ~ is the home folder."""
    if not text:  # pathlib would take it for the current folder
        raise FerError("a file name is empty; write . for the current folder")
    return Path(os.path.expanduser(text))  # Windows' shells leave ~ to the program
