"""Convert models to ONNX or OpenVINO files: the command `fer export`."""

import shutil
import tempfile
from pathlib import Path

import numpy as np
import openvino

from fer.core.errors import FerError
from fer.core.files import atomic_path
from fer.core.machine import cores
from fer.data.sample import ACTION_UNITS, draw
from fer.deploy.export import export, write_metadata
from fer.deploy.runtimes import onnx_predictor, openvino_predictor, read_metadata
from fer.training import model_file
from fer.training.evaluation import predict_probabilities

SUFFIXES = {"onnx": ".onnx", "openvino": ".xml"}
"""The formats, with the suffix of their files."""


def convert(model: Path, kind: str, target: Path) -> float:
    """Convert a model to a format in `SUFFIXES`, and keep it if it predicts the same.

    The model is a PyTorch file of stage train or tune (.pt), or for OpenVINO also an ONNX file.
    Returns the largest difference of a probability on 70 drawn faces, 10 of each emotion.

    Raises:
        FerError: If the model or the name of the target does not fit the format, or the
            probabilities differ.
    """
    suffix = SUFFIXES[kind]
    if target.suffix != suffix:
        raise FerError(f"{target}: is no name for {kind}; use the suffix {suffix}")
    is_onnx = model.suffix == ".onnx"
    if model.suffix != ".pt" and not (is_onnx and kind == "openvino"):
        raise FerError(f"{model}: {kind} needs a PyTorch file of the pipeline, such as baseline.pt")
    weights = target.with_suffix(".bin")
    if kind == "openvino" and weights.exists() and not target.exists():
        raise FerError(f"{weights}: exists, and OpenVINO writes this file too; use another name")
    generator = np.random.default_rng(0)
    faces = np.stack([draw(emotion, generator) for emotion in ACTION_UNITS for _ in range(10)])
    with tempfile.TemporaryDirectory() as folder:
        source, converted = Path(folder, "source.onnx"), Path(folder, f"converted{suffix}")
        if is_onnx:
            shutil.copyfile(model, source)
            expected = onnx_predictor(model, cores())(faces)
        else:
            network, metadata = model_file.load(model)
            expected = predict_probabilities(network, faces)
            export(source, network)
            entries = {key: metadata[key] for key in ("dataset", "scores")} | {"model": model.stem}
            write_metadata(source, entries | {"warning": None}, metadata["classes"])
        if kind == "onnx":
            shutil.copyfile(source, converted)
            probabilities = onnx_predictor(converted, cores())(faces)
        else:
            graph = openvino.convert_model(source)
            graph.set_rt_info(read_metadata(source)["classes"], ["model_info", "labels"])
            openvino.save_model(graph, converted, compress_to_fp16=False)
            probabilities = openvino_predictor(converted, cores(), "f32")(faces)
        difference = float(np.abs(probabilities - expected).max())
        mean = float(np.abs(probabilities - expected).mean())
        # ONNX files may be int8, whose sums OpenVINO rounds elsewhere: by 0.002 on average, and by
        # up to 0.03, with the released models.
        if not (mean <= 0.005 if is_onnx else difference <= 1e-3):
            raise FerError(
                f"{target}: is not kept: its probabilities differ by {mean:.4f} on average and by "
                f"up to {difference:.4f} from those of {model}; use that file"
            )
        for file in Path(folder).glob("converted.*"):
            with atomic_path(target.with_suffix(file.suffix)) as temporary:
                shutil.copyfile(file, temporary)
    return difference
