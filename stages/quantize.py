"""Export the better model to ONNX, in float32 and int8, and compare the runtimes for it."""

import shutil
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from fer.core import faces, files, params
from fer.core.errors import FerError, exit_on_error
from fer.deploy import export, quantize, runtimes
from fer.training import model_file
from fer.training.device import machine

MAX_FLOAT32_DIFFERENCE = 1e-4
"""Largest allowed difference between a probability of the float32 graph and PyTorch's."""

MAX_INT8_DIFFERENCE = 0.05
"""Largest allowed mean difference between probabilities of int8 and float32; usual is 0.003."""


def main() -> None:
    p = params.load()
    data, models = Path("data", p.dataset), Path("models", p.dataset)
    train, val = faces.load(data / "train"), faces.load(data / "val")
    rounds = p.quantize.rounds
    machine_info = machine()  # before the timing of PyTorch changes the number of threads
    model, path = model_file.winner(models)
    network, model_metadata = model_file.load(path, train.classes)
    print(f"exporting {model}: val {model_metadata['scores']['val_accuracy']:.2%}", flush=True)
    calibration = quantize.pick_calibration_faces(
        train.images, p.quantize.calibration_faces, p.quantize.seed
    )
    method = p.quantize.calibration_method

    with tempfile.TemporaryDirectory() as folder:
        float32, int8, full_range, torch_float32, torch_int8 = (
            Path(folder, file)
            for file in ("fer.onnx", "fer.int8.onnx", "full_range.onnx", "float32.pt", "int8.pt")
        )
        export.export(float32, network)
        quantize.quantize(float32, full_range, calibration, method, portable=False)
        quantize.quantize(float32, int8, calibration, method)
        quantize.check_portable(int8)
        metadata = {"dataset": p.dataset, "model": model, "licence": "see MODEL_CARD.md"}
        for file in (float32, int8):
            export.write_metadata(file, metadata, train.classes)
        dynamic, changed = quantize.quantize_dynamic(network)
        for file, module in ((torch_float32, network), (torch_int8, dynamic)):  # for their sizes
            torch.save(module.state_dict(), file)
        compared = {
            "PyTorch, float32": (torch_float32, runtimes.torch_runtime(network)),
            "PyTorch, dynamic int8": (torch_int8, runtimes.torch_runtime(dynamic)),
            "ONNX Runtime, float32": (float32, runtimes.onnx_runtime(float32)),
            "ONNX Runtime, int8 (full range)": (full_range, runtimes.onnx_runtime(full_range)),
            "ONNX Runtime, int8": (int8, runtimes.onnx_runtime(int8)),
            "Recognizer, float32": (float32, runtimes.recognizer_runtime(float32)),
            "Recognizer, int8": (int8, runtimes.recognizer_runtime(int8)),
            "OpenVINO, float32": (float32, runtimes.openvino_runtime(float32, "f32")),
            "OpenVINO, bfloat16": (float32, runtimes.openvino_runtime(float32, "bf16")),
            "OpenVINO, int8": (int8, runtimes.openvino_runtime(int8, "f32")),
        }
        probabilities = {
            name: runtimes.predict(factory, val.images) for name, (_, factory) in compared.items()
        }
        reference = probabilities["ONNX Runtime, float32"]
        float32_difference = float(np.abs(probabilities["PyTorch, float32"] - reference).max())
        if float32_difference > MAX_FLOAT32_DIFFERENCE:
            raise FerError(
                f"{models}/fer.onnx: would differ from {model}.pt by up to {float32_difference:.1e}"
                " per probability; install the torch and onnxruntime that pyproject.toml names"
            )
        int8_difference = float(np.abs(probabilities["ONNX Runtime, int8"] - reference).mean())
        if int8_difference > MAX_INT8_DIFFERENCE:
            raise FerError(
                f"{models}/fer.int8.onnx: would differ from float32 by {int8_difference:.3f} per "
                "probability; try another quantize.calibration_method"
            )
        accuracy = {
            name: float((output.argmax(1) == val.labels).mean())
            for name, output in probabilities.items()
        }
        warning = quantize.accuracy_drop_warning(
            accuracy["ONNX Runtime, float32"],
            accuracy["ONNX Runtime, int8"],
            p.quantize.max_accuracy_drop,
        )
        for file, precision in ((float32, "float32"), (int8, "int8")):
            scores = {"val_accuracy": accuracy[f"ONNX Runtime, {precision}"]}
            details = metadata | {"scores": scores, "warning": warning}
            export.write_metadata(file, details, train.classes)
        rows = runtimes.compare(compared, probabilities, val, rounds)
        for file in (float32, int8):
            with files.atomic_path(models / file.name) as temporary:
                shutil.copyfile(file, temporary)

    report = {
        "dataset": p.dataset,
        "faces": {"calibration": len(calibration), "val": len(val)},
        "model": model,
        "max_difference_float32": round(float32_difference, 7),
        "mean_difference_int8": round(int8_difference, 5),
        "dynamic_int8": {
            "modules": len(list(network.modules())),
            "modules_changed": changed,
        },
        "warning": warning,
    }
    timings = {
        "int8_over_float32": {
            name: runtimes.ratios(rows, f"{name}, int8", f"{name}, float32")
            for name in ("ONNX Runtime", "Recognizer")
        },
        "machine": machine_info | {name: version(name) for name in ("onnxruntime", "openvino")},
    }
    metrics, plots = Path("metrics", p.dataset), Path("plots", p.dataset)
    files.write_json(metrics / "quantize.json", report)
    files.write_json(metrics / "timings" / "quantize.json", timings)
    results = ("runtime", "bytes", "val_accuracy")
    files.write_csv(plots / "quantize.csv", [{k: row[k] for k in results} for row in rows])
    speeds = ["runtime", *(k for k in rows[0] if k not in results)]
    files.write_csv(plots / "runtimes.csv", [{k: row[k] for k in speeds} for row in rows])
    if warning:
        print(f"warning: {warning}", file=sys.stderr)


if __name__ == "__main__":
    exit_on_error(main)
