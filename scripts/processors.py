"""Measure the speed of the released models on this kind of processor, for docs/processors.csv.

Kinds are "VNNI" and "AVX2" for a processor with VNNI, with its own kernels and with those for AVX2,
and "AVX2 alone" for a processor without AVX-512. Rows of other kinds stay as they are.
"""

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
WITH_VNNI = {"VNNI": (), "AVX2": (sys.executable, "-m", "scripts.without_avx512")}
WITHOUT_AVX512: dict[str, tuple[str, ...]] = {"AVX2 alone": ()}
ROUNDS = 10


def main() -> None:
    if "--rows" in sys.argv[1:]:  # a child process, maybe with the kernels for AVX2
        files.write_csv(Path(sys.argv[-1]), measure())
        return
    capabilities = {name for name, has in torch.cpu.get_capabilities().items() if has is True}
    features = capabilities & {"avx2", "avx_vnni", "avx512_f", "avx512_vnni"}
    if features not in ({"avx2"}, {"avx2", "avx512_f", "avx512_vnni"}):
        raise FerError(
            f"this processor has {', '.join(sorted(features)) or 'no AVX2'}; use one with AVX2 "
            "alone, or one with AVX-512 and VNNI"
        )
    kinds = WITHOUT_AVX512 if features == {"avx2"} else WITH_VNNI
    rows = [row for row in read(TARGET) if row["kernels"] not in kinds]
    for kind, prefix in kinds.items():
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "rows.csv")
            command = [sys.executable, "-m", "scripts.processors", "--rows", str(path)]
            subprocess.run([*prefix, *command], check=True)
            rows += [{"kernels": kind} | row for row in read(path)]
    order = [*WITH_VNNI, *WITHOUT_AVX512]
    files.write_csv(TARGET, sorted(rows, key=lambda row: order.index(row["kernels"])))


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def measure() -> list[dict]:
    """Measure each runtime with both model files on one thread, as `runtimes.measure` does."""
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
    speeds = runtimes.measure(compared, val.images, threads=1, rounds=ROUNDS)
    return [{"runtime": name} | speeds[name] for name in compared]


if __name__ == "__main__":
    exit_on_error(main)
