"""Export the better model to ONNX, in float32 and in int8, and compare the ways to run it."""

import os
import shutil
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from fer import export, faces, files, model, params, plots, quantization, speed
from fer.errors import FerError, exit_on_error
from fer.faces import Faces
from fer.timing import machine

PARITY = 1e-4
"""How far a probability of the float32 graph may be from PyTorch's."""

CORES = os.cpu_count() or 1

INT8 = "ONNX Runtime, our int8"

LICENCES = {
    "sample": "Trained on faces that fer/sample.py draws.",
    "fer2013": "Trained on FER2013 (Goodfellow et al. 2013): photos from a web search, whose "
    "rights are their owners'. For research; see MODEL_CARD.md.",
}


def main() -> None:
    p = params.load()
    data, models, plot_dir = (Path(top, p.dataset) for top in ("data", "models", "plots"))
    train, val = faces.load(data / "train"), faces.load(data / "val")
    candidates = {name: model.load(models / f"{name}.pt") for name in ("baseline", "tuned")}
    name = max(candidates, key=lambda n: candidates[n][1]["scores"]["val_accuracy"])
    network, about = candidates[name]
    print(f"{name} is exported: val {about['scores']['val_accuracy']:.2%}", flush=True)
    some = np.random.default_rng(p.quantize.seed).permutation(len(train))[: p.quantize.faces]
    calibration = train.images[np.sort(some)]
    metadata = {
        "dataset": p.dataset,
        "model": name,
        "scores": about["scores"],
        "licence": LICENCES.get(p.dataset, "That of the faces it was trained on."),
    }

    with tempfile.TemporaryDirectory() as folder:
        float32, int8, usual, published = (
            Path(folder, file) for file in ("fer.onnx", "fer.int8.onnx", "usual.onnx", "int8.pt")
        )
        export.export(float32, network, metadata)
        ranges = quantization.calibrate(float32, calibration, p.quantize.calibration)
        folded, ranges = quantization.finetune(
            export.fold(network), ranges, train, epochs=p.quantize.epochs, seed=p.quantize.seed
        )
        export.export_int8(int8, folded, ranges, metadata)
        quantization.quantize_usual(float32, usual, calibration, p.quantize.calibration)
        nothing, changed = quantization.quantize_published(network)
        torch.save(nothing.state_dict(), published)
        ways = {
            "PyTorch": (models / f"{name}.pt", speed.by_torch(network)),
            "PyTorch, published int8": (published, speed.by_torch(nothing)),
            "ONNX Runtime": (float32, speed.by_onnx_runtime(float32)),
            "ONNX Runtime, usual int8": (usual, speed.by_onnx_runtime(usual)),
            INT8: (int8, speed.by_onnx_runtime(int8)),
            "Recognizer": (float32, speed.by_recognizer(float32)),
            "Recognizer, our int8": (int8, speed.by_recognizer(int8)),
            "OpenVINO": (float32, speed.by_openvino(float32, "f32")),
            "OpenVINO, bfloat16": (float32, speed.by_openvino(float32, "bf16")),
            "OpenVINO, usual int8": (usual, speed.by_openvino(usual, "f32")),
        }
        probabilities = {way: predict(maker, val.images) for way, (_, maker) in ways.items()}
        parity = float(np.abs(probabilities["PyTorch"] - probabilities["ONNX Runtime"]).max())
        if parity > PARITY:
            raise FerError(f"{models}: fer.onnx would differ from {name}.pt by up to {parity:.1e}")
        rows = compare(ways, probabilities, val)
        by_name = {row["way"]: row for row in rows}
        lost, warning = loss_of_int8(by_name, p.quantize.max_loss)
        scores = {"val_accuracy": by_name[INT8]["val_accuracy"]}
        export.export_int8(int8, folded, ranges, metadata | {"scores": scores, "warning": warning})
        for file in (float32, int8):
            with files.whole(models / file.name) as temporary:
                shutil.copyfile(file, temporary)

    files.write_json(
        Path("metrics", p.dataset, "quantize.json"),
        {
            "dataset": p.dataset,
            "faces": {"calibration": len(calibration), "val": len(val)},
            "model": name,
            "parity_float32": parity,
            "published_int8": {
                "modules": len(list(network.modules())),
                "modules_changed": changed,
            },
            "int8_loses": lost,
            "warning": warning,
            "our_int8_against_float32": {
                "onnx_runtime": ratios(by_name, "ONNX Runtime"),
                "recognizer": ratios(by_name, "Recognizer"),
            },
            "ways": {
                way: {k: v for k, v in row.items() if k != "way"} for way, row in by_name.items()
            },
            "machine": machine(torch.device("cpu"))
            | {name: version(name) for name in ("onnxruntime", "openvino")},
        },
    )
    files.write_csv(plot_dir / "quantize.csv", rows)
    plots.quantization(plot_dir / "quantize.png", rows, p.dataset)
    if warning:
        print(f"warning: {warning}", file=sys.stderr)


def predict(maker: speed.Maker, images: np.ndarray) -> np.ndarray:
    """Probabilities [N, 7] of faces [N, 48, 48]."""
    predictor = maker(CORES)
    starts = range(0, len(images), speed.BATCH)
    return np.concatenate([predictor(np.array(images[i : i + speed.BATCH])) for i in starts])


def compare(
    ways: dict[str, tuple[Path, speed.Maker]], probabilities: dict[str, np.ndarray], val: Faces
) -> list[dict[str, str | int | float]]:
    """Size, accuracy on val, latency and throughput of each way, a row each."""
    makers = {way: maker for way, (_, maker) in ways.items()}
    one, every = (speed.measure(makers, val.images, threads) for threads in (1, CORES))
    rows = []
    for way, (file, _) in ways.items():
        right = probabilities[way].argmax(1) == val.labels
        rows.append(
            {
                "way": way,
                "bytes": file.stat().st_size,
                "val_accuracy": round(float(right.mean()), 6),
            }
            | {f"{key}_1_thread": value for key, value in one[way].items()}
            | {f"{key}_all_threads": value for key, value in every[way].items()}
        )
        print(
            f"{way}: {rows[-1]['bytes'] / 1000:.0f} kB, val {right.mean():.2%}; on 1 thread "
            f"{one[way]['latency_ms']:.3f} ms a face, {one[way]['faces_per_second']} faces/s",
            flush=True,
        )
    return rows


def loss_of_int8(rows: dict[str, dict], most: float) -> tuple[float, str | None]:
    """How much accuracy on val int8 loses (0 to 1), and what to say where that is above `most`."""
    lost = round(rows["ONNX Runtime"]["val_accuracy"] - rows[INT8]["val_accuracy"], 6)
    if lost <= most:
        return lost, None
    return lost, f"int8 loses {lost:.2%} of val accuracy, more than quantize.max_loss of {most:.2%}"


def ratios(rows: dict[str, dict], way: str) -> dict[str, float]:
    """Of our int8 to float32; of the accuracy, the difference."""
    plain, ours = rows[way], rows[f"{way}, our int8"]
    found = {
        key: round(ours[key] / plain[key], 3)
        for key in ("bytes", "faces_per_second_1_thread", "faces_per_second_all_threads")
    }
    return found | {"val_accuracy": round(ours["val_accuracy"] - plain["val_accuracy"], 6)}


if __name__ == "__main__":
    exit_on_error(main)
