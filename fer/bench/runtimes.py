"""Time ways to run a trained network, side by side."""

import os
import time
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from statistics import median

import numpy as np
import onnxruntime
import openvino
import torch

from fer.faces import Faces
from fer.machine import cores
from fer.predict.recognizer import Recognizer
from fer.training.device import pick_precision
from fer.training.evaluation import probabilities

Predictor = Callable[[np.ndarray], np.ndarray]
"""From faces uint8 [N, 48, 48] to probabilities float32 [N, C]."""

Maker = Callable[[int], Predictor]
"""From a number of threads to a predictor that uses as many."""

BATCH = 128
_TURN = 0.05
"""Seconds for one face, and again for batches, in each round."""

_BLOCK = 0.01
"""Seconds of calls that are timed together: a call of 0.1 ms is too short for some clocks."""

_PAUSE = 0.05
"""Seconds between two predictors, in which the threads of the one come to rest."""


def by_torch(model: torch.nn.Module) -> Maker:
    """PyTorch, as a user would call it: eager, without gradients."""

    def make(threads: int) -> Predictor:
        def predict(faces: np.ndarray) -> np.ndarray:
            if torch.get_num_threads() != threads:
                torch.set_num_threads(threads)
            return probabilities(model, faces)

        return predict

    return make


def by_onnx_runtime(path: Path) -> Maker:
    """ONNX Runtime, all faces in one call."""

    def make(threads: int) -> Predictor:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        session = onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])
        return lambda faces: session.run(["probabilities"], {"faces": faces})[0]

    return make


def by_recognizer(path: Path) -> Maker:
    """Our Recognizer: ONNX Runtime, 16 faces in a call."""
    return lambda threads: Recognizer(path, threads).classify


def by_openvino(path: Path, precision: str) -> Maker:
    """OpenVINO, with a graph for each number of faces.

    precision: "f32", or "bf16", which is float32 where PyTorch would not use bfloat16 either
    """
    # Where this variable hides the processor's bfloat16, OpenVINO asks for it, and then lacks it.
    hidden = "ONEDNN_MAX_CPU_ISA" in os.environ
    if hidden or pick_precision("auto", torch.device("cpu")) != torch.bfloat16:
        precision = "f32"

    def make(threads: int) -> Predictor:
        settings = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": precision}
        compiled: dict[int, openvino.CompiledModel] = {}

        def predict(faces: np.ndarray) -> np.ndarray:
            if len(faces) not in compiled:
                graph = _core().read_model(path)
                graph.reshape({0: faces.shape})
                compiled[len(faces)] = _core().compile_model(graph, "CPU", settings)
            return compiled[len(faces)](faces)[0]

        return predict

    return make


@cache
def _core() -> openvino.Core:
    """One for all: each brings a stack for signals (OpenVINO 2026.4).

    Where several end in another order than they began, the next signal finds none, and the process
    ends in a segmentation fault.
    """
    return openvino.Core()


def predict(maker: Maker, images: np.ndarray) -> np.ndarray:
    """Probabilities [N, C] of faces uint8 [N, 48, 48], by 128 faces a call."""
    predictor = maker(cores())
    starts = range(0, len(images), BATCH)
    return np.concatenate([predictor(np.array(images[i : i + BATCH])) for i in starts])


def compare(
    ways: Mapping[str, tuple[Path, Maker]],
    found: Mapping[str, np.ndarray],
    val: Faces,
    repeats: int,
) -> list[dict[str, str | int | float]]:
    """Size, accuracy on val, latency and throughput of each way, a row each.

    ways: the file of each, and what makes its predictor
    found: what each says of `val`, probabilities [N, C]
    repeats: of the timing, see `measure`
    """
    makers = {way: maker for way, (_, maker) in ways.items()}
    one, every = (measure(makers, val.images, threads, repeats) for threads in (1, cores()))
    rows = []
    for way, (file, _) in ways.items():
        accuracy = float((found[way].argmax(1) == val.labels).mean())
        rows.append(
            {"way": way, "bytes": file.stat().st_size, "val_accuracy": round(accuracy, 6)}
            | {f"{key}_1_thread": value for key, value in one[way].items()}
            | {f"{key}_all_threads": value for key, value in every[way].items()}
        )
        print(
            f"{way}: {rows[-1]['bytes'] / 1000:.0f} kB, val {accuracy:.2%}; on 1 thread "
            f"{one[way]['latency_ms']:.3f} ms a face, {one[way]['faces_per_second']} faces/s",
            flush=True,
        )
    return rows


def ratios(rows: list[dict], way: str, other: str) -> dict[str, float]:
    """Of one way to another (rows of `compare`); of the accuracy, the difference."""
    ours, plain = ({row["way"]: row for row in rows}[name] for name in (way, other))
    found = {
        key: round(ours[key] / plain[key], 3)
        for key in ("bytes", "faces_per_second_1_thread", "faces_per_second_all_threads")
    }
    return found | {"val_accuracy": round(ours["val_accuracy"] - plain["val_accuracy"], 6)}


def measure(
    makers: Mapping[str, Maker], faces: np.ndarray, threads: int, repeats: int = 3
) -> dict[str, dict]:
    """Latency of one face in ms (the median), and faces a second by 128.

    The predictors take turns, so that a machine that is slower for a while is so for all. The
    faces a second are those of the best of the repeats: what else runs can only slow one down.
    faces: uint8 [N, 48, 48]; where they are fewer than 128, some are taken again
    """
    predictors = {name: make(threads) for name, make in makers.items()}
    one, many = np.array(faces[:1]), np.resize(faces[:BATCH], (BATCH, *faces.shape[1:]))
    singles: dict[str, list[float]] = {name: [] for name in makers}
    batches: dict[str, list[float]] = {name: [] for name in makers}
    for _ in range(repeats):
        for name, predict in predictors.items():
            time.sleep(_PAUSE)
            singles[name] += _seconds(predict, one)
            batches[name].append(median(_seconds(predict, many)))
    return {
        name: {
            "latency_ms": round(1000 * median(singles[name]), 4),
            "faces_per_second": round(len(many) / min(batches[name])),
        }
        for name in makers
    }


def _seconds(predict: Predictor, faces: np.ndarray) -> list[float]:
    """Seconds of a call, the mean of each block of calls, for `_TURN` seconds after a warm-up."""
    predict(faces)
    start = time.perf_counter()
    predict(faces)
    calls = max(1, round(_BLOCK / (time.perf_counter() - start)))
    found = []
    end = time.perf_counter() + _TURN
    while not found or time.perf_counter() < end:
        start = time.perf_counter()
        for _ in range(calls):
            predict(faces)
        found.append((time.perf_counter() - start) / calls)
    return found
