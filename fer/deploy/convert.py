"""Convert models to ONNX or OpenVINO files: the command `fer export`."""

import shutil
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import openvino

from fer.core.errors import FerError
from fer.core.files import atomic_path
from fer.core.machine import cores
from fer.data.sample import ACTION_UNITS, draw
from fer.deploy.export import average_views, export, write_metadata
from fer.deploy.runtimes import (
    Predictor,
    default_precision,
    onnx_predictor,
    openvino_predictor,
    predict_views,
    read_metadata,
)
from fer.training import model_file
from fer.training.evaluation import predict_probabilities

SUFFIXES = {"onnx": ".onnx", "openvino": ".xml"}
"""The formats, with the suffix of their files."""


def convert(model: Path, kind: str, target: Path, flip: bool = False) -> float:
    """Convert a model to a format in `SUFFIXES`, and keep it if it predicts the same.

    The model is a PyTorch file of stage train or tune (.pt) or an ONNX file. `flip` puts the mirror
    image into the graph: the file averages over both views, as `Recognizer` does by default.
    Returns the largest difference of a probability on 70 drawn faces, 10 of each emotion, with the
    default options of the runtime.
    """
    suffix = SUFFIXES[kind]
    if target.suffix != suffix:
        raise FerError(f"{target}: is no name for {kind}; use the suffix {suffix}")
    if model.suffix not in (".pt", ".onnx"):
        raise FerError(f"{model}: is no model; use a PyTorch file of the pipeline or an ONNX file")
    weights = target.with_suffix(".bin")
    if kind == "openvino" and weights.exists() and not target.exists():
        raise FerError(f"{weights}: exists, and OpenVINO writes this file too; use another name")
    generator = np.random.default_rng(0)
    faces = np.stack([draw(emotion, generator) for emotion in ACTION_UNITS for _ in range(10)])
    with tempfile.TemporaryDirectory() as folder:
        source, converted = Path(folder, "source.onnx"), Path(folder, f"converted{suffix}")
        original = _write_onnx(model, source)
        expected = predict_views(original, faces)["flip_averaged" if flip else "single_view"]
        if flip:
            average_views(source)
        if kind == "onnx":
            shutil.copyfile(source, converted)
            probabilities = onnx_predictor(converted, cores())(faces)
        else:
            graph = openvino.convert_model(source)
            graph.set_rt_info(read_metadata(source)["classes"], ["model_info", "labels"])
            openvino.save_model(graph, converted, compress_to_fp16=False)
            probabilities = openvino_predictor(converted, cores(), default_precision())(faces)
        differences = np.abs(probabilities - expected)
        difference, mean = float(differences.max()), float(differences.mean())
        # OpenVINO rounds to bfloat16, and the sums of int8 elsewhere: with the released models by
        # 0.003 on average, and by up to 0.05.
        if not (mean <= 0.005 if kind == "openvino" else difference <= 1e-3):
            raise FerError(
                f"{target}: is not kept: its probabilities differ by {mean:.4f} on average and by "
                f"up to {difference:.4f} from those of {model}; use that file"
            )
        for file in Path(folder).glob("converted.*"):
            with atomic_path(target.with_suffix(file.suffix)) as temporary:
                shutil.copyfile(file, temporary)
    return difference


def _write_onnx(model: Path, path: Path) -> Predictor:
    """Write a model as an ONNX file with metadata; return the predictor of the model itself."""
    if model.suffix == ".onnx":
        read_metadata(model)  # which checks it
        shutil.copyfile(model, path)
        return onnx_predictor(model, cores())
    network, metadata = model_file.load(model)
    export(path, network)
    entries = {key: metadata[key] for key in ("dataset", "scores")} | {"model": model.stem}
    write_metadata(path, entries | {"warning": None}, metadata["classes"])
    return partial(predict_probabilities, network)
