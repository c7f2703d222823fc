"""Export the model that the search chose, in float32 and int8, and compare the runtimes for it."""

import shutil
import sys
import tempfile
from functools import partial
from importlib.metadata import version
from pathlib import Path

from fer.core import faces, files, params
from fer.core.errors import exit_on_error
from fer.core.machine import cores
from fer.deploy import export, quantize, runtimes, temperature
from fer.training import model_file
from fer.training.device import machine

ONNX, OPENVINO = runtimes.onnx_predictor, runtimes.openvino_predictor
RUNTIMES = {
    "PyTorch, float32": ("fer.pt", runtimes.torch_predictor),
    "ONNX Runtime, float32": ("fer.onnx", ONNX),
    "ONNX Runtime, int8 (full range)": ("full_range.onnx", ONNX),
    "ONNX Runtime, int8": ("fer.int8.onnx", ONNX),
    "OpenVINO, float32": ("fer.onnx", partial(OPENVINO, precision="f32")),
    "OpenVINO, bfloat16": ("fer.onnx", partial(OPENVINO, precision="bf16")),
    "OpenVINO, int8": ("fer.int8.onnx", partial(OPENVINO, precision="f32")),
}
"""File and predictor of each runtime. Full range: weights up to 127, which need VNNI."""

KEPT = {"fer.onnx": "ONNX Runtime, float32", "fer.int8.onnx": "ONNX Runtime, int8"}


def main() -> None:
    p = params.load()
    options = p.quantize
    data = Path("data", p.dataset)
    models, plots, metrics = (Path(top) / p.folder for top in ("models", "plots", "metrics"))
    train, val = faces.load(data / "train"), faces.load(data / "val")
    machine_info = machine()  # before the timing of PyTorch changes the number of threads
    model, path = model_file.winner(models)
    network, _ = model_file.load(path, train.classes)
    count, method = options.calibration_faces, options.calibration_method
    calibration = quantize.pick_calibration_faces(train.images, count, options.seed)

    with tempfile.TemporaryDirectory() as folder:
        paths = {name: Path(folder, file) for name, (file, _) in RUNTIMES.items()}
        float32, int8 = (paths[name] for name in KEPT.values())
        full_range = paths["ONNX Runtime, int8 (full range)"]
        shutil.copyfile(path, paths["PyTorch, float32"])
        export.export(float32, network)
        to_int8 = partial(quantize.quantize, float32, images=calibration, method=method)
        to_int8(int8)
        to_int8(full_range, reduce_range=False)
        quantize.check_portable(int8)
        factories = {name: partial(RUNTIMES[name][1], file) for name, file in paths.items()}
        probabilities = {
            name: runtimes.predict(make(cores()), val.images) for name, make in factories.items()
        }
        differences = quantize.check_differences(probabilities)
        accuracy = {
            name: float((output.argmax(1) == val.labels).mean())
            for name, output in probabilities.items()
        }
        warning = quantize.accuracy_drop_warning(
            *(accuracy[name] for name in KEPT.values()), options.max_accuracy_drop
        )
        # After the comparison with PyTorch, whose file has none.
        unseen = val[~faces.is_in(val, train)]
        fitted = temperature.fit(ONNX(int8, cores()), unseen.images, unseen.labels)
        for file in (float32, int8):
            temperature.write(file, fitted)
        speeds = runtimes.compare(factories, val.images, options.rounds)
        for file, name in KEPT.items():
            origin = {"dataset": p.dataset, "size": p.size, "model": model, "temperature": fitted}
            origin |= {"licence": "see MODEL_CARD.md", "class_shares": train.shares()}
            scores = {"scores": {"val_accuracy": accuracy[name]}, "warning": warning}
            export.write_metadata(paths[name], origin | scores, train.classes)
            with files.atomic_path(models / file) as temporary:
                shutil.copyfile(paths[name], temporary)
        sizes = {name: file.stat().st_size for name, file in paths.items()}

    counts = {"calibration": len(calibration), "val": len(val)}
    report = {"dataset": p.dataset, "faces": counts, "model": model, **differences}
    report["temperature"] = fitted
    files.write_json(metrics / "quantize.json", report | {"warning": warning})
    versions = {name: version(name) for name in ("onnxruntime", "openvino")}
    files.write_json(metrics / "timings" / "quantize.json", {"machine": machine_info | versions})
    rows = [
        {"runtime": name, "bytes": sizes[name], "val_accuracy": round(accuracy[name], 6)}
        for name in RUNTIMES
    ]
    files.write_csv(plots / "quantize.csv", rows)
    files.write_csv(plots / "runtimes.csv", speeds)
    if warning:
        print(f"warning: {warning}", file=sys.stderr)


if __name__ == "__main__":
    exit_on_error(main)
