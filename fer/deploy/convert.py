"""Convert models to the files of other runtimes: the command `fer export`."""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import torch

from fer.core.errors import FerError
from fer.core.faces import FACE_SIZE
from fer.core.files import atomic_path
from fer.deploy.export import Deployed, export, quiet, write_metadata
from fer.predict.recognizer import Recognizer
from fer.training import model_file
from fer.training.evaluation import predict_probabilities

_TOLERANCE = {"float32": 1e-3, "int8": 0.02}
"""Largest difference of a probability from that of the ONNX file, by precision."""

_CHECKED_FACES = 64


def convert(model: Path, kind: str, target: Path) -> float:
    """Convert a model, and compare it with the ONNX file (ONNX with PyTorch); only then keep it.

    Args:
        model: A PyTorch file of stage train or tune (.pt), or for OpenVINO also an ONNX file.
        kind: A name in `FORMATS`.
        target: The file to write.

    Returns:
        The largest difference of a probability on 64 faces of noise.

    Raises:
        FerError: If the model or the name of the target does not fit the format, or the
            probabilities differ.
    """
    suffix, write, run = FORMATS[kind]
    if target.suffix.lower() != suffix:
        raise FerError(f"{target}: is no name for {kind}; use the suffix {suffix}")
    if model.suffix.lower() not in (".pt", ".onnx"):
        raise FerError(f"{model}: is no model; name a PyTorch file (.pt) or an ONNX file (.onnx)")
    is_onnx = model.suffix.lower() == ".onnx"
    if is_onnx and kind != "openvino":
        raise FerError(f"{model}: {kind} needs a PyTorch file of the pipeline, such as baseline.pt")
    weights = target.with_suffix(".bin")
    if kind == "openvino" and weights.exists() and not target.exists():
        raise FerError(f"{weights}: exists, and OpenVINO writes this file too; use another name")
    if target.is_dir():
        raise FerError(f"{target}: is a folder; name a file")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FerError(f"{target.parent}: cannot be created: {error.strerror}") from error
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as original:
        folder, original = Path(folder), Path(original)
        reference = model if is_onnx else _to_onnx(model, original / "model.onnx")
        size = (_CHECKED_FACES, FACE_SIZE, FACE_SIZE)
        faces = np.random.default_rng(0).integers(0, 256, size, np.uint8)
        if kind == "onnx":
            expected = predict_probabilities(model_file.load(model)[0], faces)
        else:
            expected = Recognizer(reference, flip=False).classify(faces)
        temporary = folder / target.name
        write(model, reference, temporary)
        difference = float(np.abs(run(temporary, faces) - expected).max())
        precision = "int8" if ".int8" in reference.name else "float32"
        if not difference <= _TOLERANCE[precision]:
            raise FerError(
                f"{target}: is not kept: its probabilities differ by {difference:.3f} from those "
                f"of {model}; use that file"
            )
        for file in folder.glob(f"{target.stem}.*"):
            with atomic_path(target.parent / file.name) as temporary:
                shutil.move(file, temporary)
    return difference


def _to_onnx(model: Path, path: Path) -> Path:
    network, metadata = model_file.load(model)
    export(path, network)
    entries = {key: metadata[key] for key in ("dataset", "scores")} | {"model": model.stem}
    write_metadata(path, entries | {"warning": None}, metadata["classes"])
    return path


def _write_onnx(model: Path, reference: Path, target: Path) -> None:
    shutil.copyfile(reference, target)


def _write_openvino(model: Path, reference: Path, target: Path) -> None:
    converted = openvino.convert_model(reference)
    converted.set_rt_info(Recognizer(reference).classes, ["model_info", "labels"])
    openvino.save_model(converted, target, compress_to_fp16=False)


def _write_torchscript(model: Path, reference: Path, target: Path) -> None:
    network, _ = model_file.load(model)
    faces = torch.zeros(2, FACE_SIZE, FACE_SIZE, dtype=torch.uint8)
    with quiet():
        traced = torch.jit.trace(Deployed(network).eval(), faces)
        torch.jit.save(traced, target)


def _write_litert(model: Path, reference: Path, target: Path) -> None:
    try:  # an option, because it needs several hundred MB
        import litert_torch
    except ModuleNotFoundError as error:
        raise FerError("litert needs litert-torch; pip install litert-torch") from error
    network, _ = model_file.load(model)
    face = torch.zeros(1, FACE_SIZE, FACE_SIZE, dtype=torch.uint8)
    with quiet():
        litert_torch.convert(Deployed(network).eval(), (face,)).export(str(target))


def _run_onnx(path: Path, faces: np.ndarray) -> np.ndarray:
    return Recognizer(path, flip=False).classify(faces)


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


_Format = tuple[str, Callable[[Path, Path, Path], None], Callable[[Path, np.ndarray], Any]]

FORMATS: dict[str, _Format] = {
    "onnx": (".onnx", _write_onnx, _run_onnx),
    "openvino": (".xml", _write_openvino, _run_openvino),
    "litert": (".tflite", _write_litert, _run_litert),
    "torchscript": (".torchscript", _write_torchscript, _run_torchscript),
}
"""Suffix, writer and runner of each format."""
