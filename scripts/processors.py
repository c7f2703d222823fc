"""Time the shipped models with this processor's VNNI and without: docs/processors.csv."""

import csv
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from fer import faces, files
from fer.bench import runtimes
from fer.errors import FerError, exit_on_error

DATASET = "fer2013"
TARGET = Path("docs", "processors.csv")
KINDS = {"VNNI": (), "AVX2": (sys.executable, "-m", "scripts.without_avx512")}


def main() -> None:
    if "--rows" in sys.argv[1:]:  # in a process that may have another processor's kernels
        files.write_csv(Path(sys.argv[-1]), rows())
        return
    if not torch.cpu.get_capabilities().get("avx512_vnni"):
        raise FerError("this processor has no AVX-512 VNNI: there is nothing to compare with")
    found = []
    for kind, runner in KINDS.items():
        with tempfile.TemporaryDirectory() as folder:
            part = Path(folder, "rows.csv")
            command = [sys.executable, "-m", "scripts.processors", "--rows", str(part)]
            subprocess.run([*runner, *command], check=True)
            with part.open() as file:
                found += [{"kernels": kind} | row for row in csv.DictReader(file)]
    files.write_csv(TARGET, found)


def rows() -> list[dict]:
    """Each way to run the two files on this processor, as the stage quantize measures them."""
    val = faces.load(Path("data", DATASET, "val"))
    makers = {
        "ONNX Runtime": runtimes.by_onnx_runtime,
        "Recognizer": runtimes.by_recognizer,
        "OpenVINO": lambda path: runtimes.by_openvino(path, "f32"),
    }
    models = {"float32": "fer.onnx", "int8": "fer.int8.onnx"}
    ways = {
        f"{engine}, {name}": (path := Path("models", DATASET, file), make(path))
        for engine, make in makers.items()
        for name, file in models.items()
    }
    said = {way: runtimes.predict(maker, val.images) for way, (_, maker) in ways.items()}
    return runtimes.compare(ways, said, val)


if __name__ == "__main__":
    exit_on_error(main)
