"""Measure the speed of the released models on this processor, for docs/processors.csv.

    python -m scripts.processors "Zen 4"

writes rows with this name. On a processor with AVX-512 it also writes rows "Zen 4, AVX2 kernels",
measured with the kernels for AVX2. Rows of other processors stay as they are.
"""

import argparse
import csv
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from fer import faces, files
from fer.bench import runtimes
from fer.errors import exit_on_error

DATASET = "fer2013"
TARGET = Path("docs", "processors.csv")
ROUNDS = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("name", help="name of the processor in the table")
    parser.add_argument("--rows", type=Path, help="write the rows of this process to a file only")
    arguments = parser.parse_args()
    if arguments.rows:  # a child process, maybe with the kernels for AVX2
        files.write_csv(arguments.rows, measure())
        return
    prefixes: dict[str, list[str]] = {arguments.name: []}
    if torch.cpu.get_capabilities().get("avx512_f"):
        without_avx512 = [sys.executable, "-m", "scripts.without_avx512"]
        prefixes[f"{arguments.name}, AVX2 kernels"] = without_avx512
    rows = [row for row in read(TARGET) if row["processor"] not in prefixes]
    for name, prefix in prefixes.items():
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "rows.csv")
            command = [sys.executable, "-m", "scripts.processors", name, "--rows", str(path)]
            subprocess.run([*prefix, *command], check=True)
            rows += [{"processor": name} | row for row in read(path)]
    files.write_csv(TARGET, rows)


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def measure() -> list[dict]:
    """Measure each runtime with nano on one thread, and ONNX Runtime with the larger models."""
    val = faces.load(Path("data", DATASET, "val"))
    factories = {
        "ONNX Runtime": runtimes.onnx_runtime,
        "Recognizer": runtimes.recognizer_runtime,
        "OpenVINO": lambda path: runtimes.openvino_runtime(path, "f32"),
    }
    models = {"float32": "fer.onnx", "int8": "fer.int8.onnx"}
    compared = {
        f"{engine}, {precision}": make(Path("models", DATASET, file))
        for engine, make in factories.items()
        for precision, file in models.items()
    }
    for size in ("small", "base", "large"):
        path = Path("models", DATASET, f"{size}.int8.onnx")
        compared[f"ONNX Runtime, int8, {size}"] = runtimes.onnx_runtime(path)
    speeds = runtimes.measure(compared, val.images, threads=1, rounds=ROUNDS)
    return [{"runtime": name} | speeds[name] for name in compared]


if __name__ == "__main__":
    exit_on_error(main)
