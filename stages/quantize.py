"""Export the better model to ONNX, in float32 and in int8, and compare the ways to run it."""

import shutil
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from fer import faces, files, params
from fer.bench import runtimes
from fer.deploy import export, quantize
from fer.errors import FerError, exit_on_error
from fer.machine import machine
from fer.training import checkpoint

PARITY = 1e-4
"""How far a probability of the float32 graph may be from PyTorch's."""

INT8_DIFFERENCE = 0.05
"""How far a probability of the int8 graph may be from float32's on average; it is some 0.003."""


def main() -> None:
    p = params.load()
    data, models = Path("data", p.dataset), Path("models", p.dataset)
    train, val = faces.load(data / "train"), faces.load(data / "val")
    rounds = params.load_budget(p.dataset).timings.runtimes
    here = machine()  # before the timing of PyTorch changes the number of threads
    candidates = {
        name: checkpoint.load(models / f"{name}.pt", train.classes)
        for name in ("baseline", "tuned")
    }
    name = max(candidates, key=lambda n: candidates[n][1]["scores"]["val_new_accuracy"])
    network, about = candidates[name]
    print(f"{name} is exported: val {about['scores']['val_accuracy']:.2%}", flush=True)
    some = np.random.default_rng(p.quantize.seed).permutation(len(train))[: p.quantize.faces]
    calibration, method = train.images[np.sort(some)], p.quantize.calibration

    with files.scratch(models) as folder:
        float32, int8, usual, plain, published = (
            Path(folder, file)
            for file in ("fer.onnx", "fer.int8.onnx", "usual.onnx", "fer.pt", "int8.pt")
        )
        export.export(float32, network)
        quantize.quantize(float32, usual, calibration, method, portable=False)
        quantize.quantize(float32, int8, calibration, method)
        quantize.check_portable(int8)
        known = {"dataset": p.dataset, "model": name, "licence": "see MODEL_CARD.md"}
        for file in (float32, int8):
            export.describe(file, known, train.classes)
        nothing, changed = quantize.quantize_published(network)
        for file, weights in ((plain, network), (published, nothing)):  # for their sizes
            torch.save(weights.state_dict(), file)
        ways = {
            "PyTorch": (plain, runtimes.by_torch(network)),
            "PyTorch, published int8": (published, runtimes.by_torch(nothing)),
            "ONNX Runtime": (float32, runtimes.by_onnx_runtime(float32)),
            "ONNX Runtime, usual int8": (usual, runtimes.by_onnx_runtime(usual)),
            "ONNX Runtime, our int8": (int8, runtimes.by_onnx_runtime(int8)),
            "Recognizer": (float32, runtimes.by_recognizer(float32)),
            "Recognizer, our int8": (int8, runtimes.by_recognizer(int8)),
            "OpenVINO": (float32, runtimes.by_openvino(float32, "f32")),
            "OpenVINO, bfloat16": (float32, runtimes.by_openvino(float32, "bf16")),
            "OpenVINO, our int8": (int8, runtimes.by_openvino(int8, "f32")),
        }
        found = {way: runtimes.predict(maker, val.images) for way, (_, maker) in ways.items()}
        parity = float(np.abs(found["PyTorch"] - found["ONNX Runtime"]).max())
        if parity > PARITY:
            raise FerError(f"{models}: fer.onnx would differ from {name}.pt by up to {parity:.1e}")
        said = found["ONNX Runtime, our int8"] - found["ONNX Runtime"]
        difference = float(np.abs(said).mean())
        if difference > INT8_DIFFERENCE:
            raise FerError(
                f"{models}: fer.int8.onnx would differ from its float32 by {difference:.3f} on "
                "average; try another quantize.calibration"
            )
        accuracy = {way: float((found[way].argmax(1) == val.labels).mean()) for way in ways}
        warning = quantize.loss_warning(
            accuracy["ONNX Runtime"], accuracy["ONNX Runtime, our int8"], p.quantize.max_loss
        )
        for file, way in ((float32, "ONNX Runtime"), (int8, "ONNX Runtime, our int8")):
            scores = {"val_accuracy": accuracy[way]}
            export.describe(file, known | {"scores": scores, "warning": warning}, train.classes)
        rows = runtimes.compare(ways, found, val, rounds)
        for file in (float32, int8):
            with files.atomic_path(models / file.name) as temporary:
                shutil.copyfile(file, temporary)

    report = {
        "dataset": p.dataset,
        "faces": {"calibration": len(calibration), "val": len(val)},
        "model": name,
        "parity_float32": round(parity, 7),
        "difference_int8": round(difference, 5),
        "published_int8": {
            "modules": len(list(network.modules())),
            "modules_changed": changed,
        },
        "warning": warning,
    }
    timings = {
        "our_int8_against_float32": {
            way: runtimes.ratios(rows, f"{way}, our int8", way)
            for way in ("ONNX Runtime", "Recognizer")
        },
        "machine": here | {name: version(name) for name in ("onnxruntime", "openvino")},
    }
    metrics, plots = Path("metrics", p.dataset), Path("plots", p.dataset)
    files.write_json(metrics / "quantize.json", report)
    files.write_json(metrics / "timings" / "quantize.json", timings)
    results = ("way", "bytes", "val_accuracy")
    files.write_csv(plots / "quantize.csv", [{k: row[k] for k in results} for row in rows])
    speeds = ["way", *(k for k in rows[0] if k not in results)]
    files.write_csv(plots / "runtimes.csv", [{k: row[k] for k in speeds} for row in rows])
    if warning:
        print(f"warning: {warning}", file=sys.stderr)


if __name__ == "__main__":
    exit_on_error(main)
