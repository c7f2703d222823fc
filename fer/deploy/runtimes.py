"""Run a network in PyTorch, ONNX Runtime or OpenVINO, and measure latency and throughput."""

import json
import os
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from statistics import fmean, median
from timeit import Timer
from typing import Any

import numpy as np
import onnxruntime
import openvino
import torch

from fer.core.errors import FerError
from fer.core.machine import cores
from fer.training import model_file
from fer.training.evaluation import predict_probabilities

Predictor = Callable[[np.ndarray], np.ndarray]
"""From faces uint8 [N, 48, 48] to probabilities float32 [N, C]."""

_CORE = openvino.Core()
"""The only core: after several, a signal can end the process in a segmentation fault (2026.4)."""

PredictorFactory = Callable[[int], Predictor]
"""From a number of threads to a predictor that uses this number."""

BATCH_SIZE = 128
"""Faces per call when throughput is measured."""

_BLOCKS, _SECONDS_PER_BLOCK = 5, 0.01
"""Blocks of calls per predictor and round: some clocks cannot time a single call of 0.1 ms."""

_PAUSE = 0.05
"""Seconds between two predictors, in which the threads of the first come to rest."""


def torch_predictor(path: Path, threads: int) -> Predictor:
    """Run a model file in PyTorch, in eager mode and without gradients."""
    torch.set_num_threads(threads)
    return partial(predict_probabilities, model_file.load(path)[0])


def onnx_session(path: Path, threads: int) -> onnxruntime.InferenceSession:
    """Load an ONNX file in ONNX Runtime, for the processor."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4  # the exception says the same
    try:
        return onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's errors have no common class
        raise FerError(
            f"{path}: is not a model that ONNX Runtime can read; use an ONNX file of fer"
        ) from error


def read_metadata(path: Path) -> dict[str, Any]:
    """Return what `fer.deploy.export.write_metadata` wrote into an ONNX file."""
    entries = onnx_session(path, 1).get_modelmeta().custom_metadata_map
    if "classes" not in entries:
        raise FerError(f"{path}: has no metadata of fer; use an ONNX file of fer")
    return {key: json.loads(value) for key, value in entries.items()}


def onnx_predictor(path: Path, threads: int) -> Predictor:
    """Run an ONNX file in ONNX Runtime, all faces in one call."""
    session = onnx_session(path, threads)
    return lambda faces: session.run(["probabilities"], {"faces": faces})[0]


def openvino_predictor(path: Path, threads: int, precision: str) -> Predictor:
    """Run an ONNX file in OpenVINO, with one graph per number of faces.

    The precision is "f32" or "bf16", which a processor without bfloat16 runs as "f32".
    """
    if "ONEDNN_MAX_CPU_ISA" in os.environ:  # OpenVINO would ask for kernels that it hides
        precision = "f32"
    settings = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": precision}
    compiled: dict[int, openvino.CompiledModel] = {}

    def predict(faces: np.ndarray) -> np.ndarray:
        if len(faces) not in compiled:
            graph = _CORE.read_model(path)
            graph.reshape({0: faces.shape})
            compiled[len(faces)] = _CORE.compile_model(graph, "CPU", settings)
        return compiled[len(faces)](faces)[0]

    return predict


def default_precision() -> str:
    """Return the precision of OpenVINO without options on this processor: "f32", "bf16", "f16"."""
    return _CORE.get_property("CPU", "INFERENCE_PRECISION_HINT").get_type_name()


def predict(predictor: Predictor, images: np.ndarray) -> np.ndarray:
    """Predict probabilities, float32 [N, C], in batches of 128 faces."""
    starts = range(0, len(images), BATCH_SIZE)
    return np.concatenate([predictor(np.array(images[i : i + BATCH_SIZE])) for i in starts])


def predict_views(predictor: Predictor, images: np.ndarray) -> dict[str, np.ndarray]:
    """Predict a "single_view", and "flip_averaged" with mirror images, as `Recognizer` does."""
    single, mirrored = (predict(predictor, views) for views in (images, images[..., ::-1]))
    return {"single_view": single, "flip_averaged": (single + mirrored) / 2}


def accuracy_on_damaged(
    predictor: Predictor, copies: Mapping[str, np.ndarray], labels: np.ndarray
) -> dict[str, float]:
    """Return the accuracy on each damaged copy of some faces, and their "mean" and "worst".

    The copies are those of `fer.training.robustness.damaged`. Predictions are averaged with mirror
    images.
    """
    accuracies = {}
    for way, images in copies.items():
        probabilities = predict_views(predictor, images)["flip_averaged"]
        accuracies[way] = float((probabilities.argmax(1) == labels).mean())
    values = accuracies.values()
    return {"mean": fmean(values), "worst": min(values), **accuracies}


def compare(
    factories: Mapping[str, PredictorFactory], faces: np.ndarray, rounds: int
) -> list[dict[str, str | float]]:
    """Measure the latency and throughput of several runtimes, with 1 thread and all threads.

    The predictors take turns, so that a slow phase of the machine slows all of them. Throughput is
    that of the fastest round, because other programs can only slow a predictor down. Where a round
    takes over a third longer than another, as many rounds are added once.

    Returns:
        A row per runtime: "runtime", "latency_ms_1_thread" (median for one face),
        "faces_per_second_1_thread" (128 faces per call, repeated if there are fewer),
        "latency_ms_all_threads" and "faces_per_second_all_threads"; then "is_steady": whether the
        last rounds are within a third of each other.
    """
    face, batch = np.array(faces[:1]), np.resize(faces[:BATCH_SIZE], (BATCH_SIZE, *faces.shape[1:]))
    rows: list[dict[str, str | float]] = [{"runtime": name} for name in factories]
    is_steady = dict.fromkeys(factories, True)
    for threads, suffix in ((1, "1_thread"), (cores(), "all_threads")):
        predictors = {name: make(threads) for name, make in factories.items()}
        latencies: dict[str, list[float]] = {name: [] for name in factories}
        batch_times: dict[str, list[float]] = {name: [] for name in factories}
        for _ in range(2):
            for _ in range(rounds):
                for name, predictor in predictors.items():
                    time.sleep(_PAUSE)
                    latencies[name] += _seconds_per_call(predictor, face)
                    batch_times[name].append(median(_seconds_per_call(predictor, batch)))
            last = {name: seconds[-rounds:] for name, seconds in batch_times.items()}
            steady = {name: max(last[name]) <= 4 / 3 * min(last[name]) for name in factories}
            if all(steady.values()):
                break
        for name, row in zip(factories, rows, strict=True):
            row[f"latency_ms_{suffix}"] = round(1000 * median(latencies[name]), 4)
            row[f"faces_per_second_{suffix}"] = round(len(batch) / min(batch_times[name]))
            is_steady[name] &= steady[name]
    return [row | {"is_steady": is_steady[str(row["runtime"])]} for row in rows]


def _seconds_per_call(predict: Predictor, faces: np.ndarray) -> list[float]:
    """Return the mean seconds per call of each block of calls, after a warm-up."""
    timer = Timer(lambda: predict(faces))
    timer.timeit(1)
    calls = max(1, round(_SECONDS_PER_BLOCK / timer.timeit(1)))
    return [seconds / calls for seconds in timer.repeat(_BLOCKS, calls)]
