"""Convert models to the files of other runtimes: the command `fer export`."""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import openvino
import torch

from fer.core.errors import FerError
from fer.core.faces import FACE_SIZE
from fer.core.files import atomic_path
from fer.core.machine import cores
from fer.deploy.export import Deployed, export, quiet, write_metadata
from fer.deploy.runtimes import onnx_predictor, read_metadata
from fer.training import model_file
from fer.training.evaluation import predict_probabilities


def convert(model: Path, kind: str, target: Path) -> float:
    """Convert a model to a format in `FORMATS`, and keep it if it predicts the same.

    The model is a PyTorch file of stage train or tune (.pt), or for OpenVINO also an ONNX file.
    Returns the largest difference of a probability on 64 faces of noise.

    Raises:
        FerError: If the model or the name of the target does not fit the format, or the
            probabilities differ.
    """
    suffix, write, run = FORMATS[kind]
    if target.suffix != suffix:
        raise FerError(f"{target}: is no name for {kind}; use the suffix {suffix}")
    is_onnx = model.suffix == ".onnx"
    if model.suffix != ".pt" and not (is_onnx and kind == "openvino"):
        raise FerError(f"{model}: {kind} needs a PyTorch file of the pipeline, such as baseline.pt")
    weights = target.with_suffix(".bin")
    if kind == "openvino" and weights.exists() and not target.exists():
        raise FerError(f"{weights}: exists, and OpenVINO writes this file too; use another name")
    faces = np.random.default_rng(0).integers(0, 256, (64, FACE_SIZE, FACE_SIZE), np.uint8)
    if is_onnx:
        read_metadata(model)  # refuses other ONNX files
        expected = onnx_predictor(model, cores())(faces)
    else:
        expected = predict_probabilities(model_file.load(model)[0], faces)
    with tempfile.TemporaryDirectory() as folder:
        converted = Path(folder, f"model{suffix}")
        write(model, converted)
        difference = float(np.abs(run(converted, faces) - expected).max())
        if not difference <= (0.02 if is_onnx else 1e-3):  # ONNX files may be int8
            raise FerError(
                f"{target}: is not kept: its probabilities differ by {difference:.3f} from those "
                f"of {model}; use that file"
            )
        for file in Path(folder).iterdir():
            with atomic_path(target.with_suffix(file.suffix)) as temporary:
                shutil.copyfile(file, temporary)
    return difference


def _write_onnx(model: Path, target: Path) -> None:
    network, metadata = model_file.load(model)
    export(target, network)
    entries = {key: metadata[key] for key in ("dataset", "scores")} | {"model": model.stem}
    write_metadata(target, entries | {"warning": None}, metadata["classes"])


def _write_openvino(model: Path, target: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        source = model
        if model.suffix == ".pt":
            source = Path(folder, "model.onnx")
            _write_onnx(model, source)
        converted = openvino.convert_model(source)
        converted.set_rt_info(read_metadata(source)["classes"], ["model_info", "labels"])
        openvino.save_model(converted, target, compress_to_fp16=False)


def _write_torchscript(model: Path, target: Path) -> None:
    network, _ = model_file.load(model)
    faces = torch.zeros(2, FACE_SIZE, FACE_SIZE, dtype=torch.uint8)
    with quiet():
        torch.jit.save(torch.jit.trace(Deployed(network).eval(), faces), target)


def _write_litert(model: Path, target: Path) -> None:
    try:  # an option, because it needs several hundred MB
        import litert_torch
    except ModuleNotFoundError as error:
        raise FerError("litert needs litert-torch; pip install litert-torch") from error
    network, _ = model_file.load(model)
    face = torch.zeros(1, FACE_SIZE, FACE_SIZE, dtype=torch.uint8)
    with quiet():
        litert_torch.convert(Deployed(network).eval(), (face,)).export(str(target))


def _run_openvino(path: Path, faces: np.ndarray) -> np.ndarray:
    options = {"INFERENCE_PRECISION_HINT": "f32"}
    return openvino.compile_model(path, "CPU", options)(faces)["probabilities"]


def _run_torchscript(path: Path, faces: np.ndarray) -> np.ndarray:
    with torch.inference_mode(), quiet():
        return torch.jit.load(path)(torch.tensor(faces))[0].numpy()


def _run_litert(path: Path, faces: np.ndarray) -> np.ndarray:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path))
    interpreter.allocate_tensors()
    (face,), (probabilities, _) = interpreter.get_input_details(), interpreter.get_output_details()
    results = []
    for pixels in faces:  # the file takes one face
        interpreter.set_tensor(face["index"], pixels[None])
        interpreter.invoke()
        results.append(interpreter.get_tensor(probabilities["index"]))
    return np.concatenate(results)


FORMATS: dict[
    str, tuple[str, Callable[[Path, Path], None], Callable[[Path, np.ndarray], np.ndarray]]
] = {
    "onnx": (".onnx", _write_onnx, lambda path, faces: onnx_predictor(path, cores())(faces)),
    "openvino": (".xml", _write_openvino, _run_openvino),
    "litert": (".tflite", _write_litert, _run_litert),
    "torchscript": (".torchscript", _write_torchscript, _run_torchscript),
}
"""Suffix, writer and runner of each format."""
