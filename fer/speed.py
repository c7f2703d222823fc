"""Time ways to run a model, side by side."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import onnxruntime
import openvino
import torch

from fer.evaluation import logits
from fer.recognition import Recognizer

Predictor = Callable[[np.ndarray], np.ndarray]
"""From faces uint8 [N, 48, 48] to probabilities float32 [N, 7]."""

Maker = Callable[[int], Predictor]
"""From a number of threads to a predictor that uses as many."""

BATCH = 128
_ROUNDS = 5
_SINGLES, _BATCHES = 0.1, 0.15
"""Seconds for one face, and for batches, in each round."""

_PAUSE = 0.05
"""Seconds between two predictors, in which the threads of the one come to rest."""


def by_torch(model: torch.nn.Module) -> Maker:
    """PyTorch, as a user would call it: eager, without gradients."""

    def make(threads: int) -> Predictor:
        def predict(faces: np.ndarray) -> np.ndarray:
            if torch.get_num_threads() != threads:
                torch.set_num_threads(threads)
            return logits(model, torch.from_numpy(faces)).softmax(1).numpy()

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
    """OpenVINO, with a graph for each number of faces; precision: "f32" or "bf16"."""

    def make(threads: int) -> Predictor:
        core = openvino.Core()
        settings = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": precision}
        compiled: dict[int, openvino.CompiledModel] = {}

        def predict(faces: np.ndarray) -> np.ndarray:
            if len(faces) not in compiled:
                graph = core.read_model(path)
                graph.reshape({0: faces.shape})
                compiled[len(faces)] = core.compile_model(graph, "CPU", settings)
            return compiled[len(faces)](faces)[0]

        return predict

    return make


def measure(makers: Mapping[str, Maker], faces: np.ndarray, threads: int) -> dict[str, dict]:
    """Latency of one face in ms (median and 99th percentile), and faces a second by 128.

    The predictors take turns, so that a machine that is slower for a while is so for all. The
    faces a second are those of the best of 5 rounds: what else runs can only slow a round down.
    faces: uint8 [N, 48, 48]; where they are fewer than 128, some are taken again
    """
    predictors = {name: make(threads) for name, make in makers.items()}
    one, many = np.array(faces[:1]), np.resize(faces[:BATCH], (BATCH, *faces.shape[1:]))
    singles: dict[str, list[float]] = {name: [] for name in makers}
    batches: dict[str, list[float]] = {name: [] for name in makers}
    for _ in range(_ROUNDS):
        for name, predict in predictors.items():
            time.sleep(_PAUSE)
            singles[name] += _seconds(predict, one, _SINGLES)
            batches[name].append(float(np.median(_seconds(predict, many, _BATCHES))))
    return {
        name: {
            "latency_ms": round(1000 * float(np.median(singles[name])), 4),
            "latency_ms_p99": round(1000 * float(np.percentile(singles[name], 99)), 4),
            "faces_per_second": round(len(many) / min(batches[name])),
        }
        for name in makers
    }


def _seconds(predict: Predictor, faces: np.ndarray, budget: float) -> list[float]:
    """How long each call took, for so many seconds after a warm-up."""
    predict(faces)
    found = []
    end = time.perf_counter() + budget
    while not found or time.perf_counter() < end:
        start = time.perf_counter()
        predict(faces)
        found.append(time.perf_counter() - start)
    return found
