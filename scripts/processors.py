"""Time the shipped models on this kind of processor: its rows of docs/processors.csv.

Kinds are "VNNI" and "AVX2", of a processor that has VNNI, with its own kernels and with those for
AVX2; and "AVX2 alone", of one that has no more. Rows of the kinds that are not here stay.
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
BOTH = {"VNNI": (), "AVX2": (sys.executable, "-m", "scripts.without_avx512")}
ALONE: dict[str, tuple[str, ...]] = {"AVX2 alone": ()}
REPEATS = 10


def main() -> None:
    if "--rows" in sys.argv[1:]:  # in a process that may have another processor's kernels
        files.write_csv(Path(sys.argv[-1]), rows())
        return
    there = {name for name, has in torch.cpu.get_capabilities().items() if has is True}
    features = there & {"avx2", "avx_vnni", "avx512_f", "avx512_vnni"}
    if features not in ({"avx2"}, {"avx2", "avx512_f", "avx512_vnni"}):
        raise FerError("this processor is of none of the kinds that are compared")
    kinds = ALONE if features == {"avx2"} else BOTH
    found = [row for row in read(TARGET) if row["kernels"] not in kinds]
    for kind, runner in kinds.items():
        with tempfile.TemporaryDirectory() as folder:
            part = Path(folder, "rows.csv")
            command = [sys.executable, "-m", "scripts.processors", "--rows", str(part)]
            subprocess.run([*runner, *command], check=True)
            found += [{"kernels": kind} | row for row in read(part)]
    files.write_csv(TARGET, sorted(found, key=lambda row: [*BOTH, *ALONE].index(row["kernels"])))


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def rows() -> list[dict]:
    """The speeds of each way to run the two files on one thread, by `runtimes.measure`."""
    val = faces.load(Path("data", DATASET, "val"))
    makers = {
        "ONNX Runtime": runtimes.by_onnx_runtime,
        "Recognizer": runtimes.by_recognizer,
        "OpenVINO": lambda path: runtimes.by_openvino(path, "f32"),
    }
    models = {"float32": "fer.onnx", "int8": "fer.int8.onnx"}
    ways = {
        f"{engine}, {name}": make(Path("models", DATASET, file))
        for engine, make in makers.items()
        for name, file in models.items()
    }
    speeds = runtimes.measure(ways, val.images, threads=1, repeats=REPEATS)
    return [{"way": way} | speeds[way] for way in ways]


if __name__ == "__main__":
    exit_on_error(main)
