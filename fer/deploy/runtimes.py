"""Benchmark the runtimes that can run a trained network: size, accuracy, latency, throughput."""

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

from fer.core.faces import Faces
from fer.core.machine import cores
from fer.predict.recognizer import Recognizer
from fer.training.device import pick_precision
from fer.training.evaluation import predict_probabilities

Predictor = Callable[[np.ndarray], np.ndarray]
"""From faces uint8 [N, 48, 48] to probabilities float32 [N, C]."""

PredictorFactory = Callable[[int], Predictor]
"""From a number of threads to a predictor that uses this number."""

BATCH_SIZE = 128
"""Faces per call when throughput is measured."""

_SECONDS_PER_ROUND = 0.05
"""Duration of the single-face calls of a predictor in a round, and again of its batch calls."""

_SECONDS_PER_BLOCK = 0.01
"""Duration of the calls that are timed together: some clocks cannot time a call of 0.1 ms."""

_PAUSE = 0.05
"""Seconds between two predictors, in which the threads of the first come to rest."""


def torch_runtime(model: torch.nn.Module) -> PredictorFactory:
    """Make predictors that run a network in PyTorch, in eager mode and without gradients.

    Args:
        model: The network.
    """

    def make(threads: int) -> Predictor:
        def predict(faces: np.ndarray) -> np.ndarray:
            if torch.get_num_threads() != threads:
                torch.set_num_threads(threads)
            return predict_probabilities(model, faces)

        return predict

    return make


def onnx_runtime(path: Path) -> PredictorFactory:
    """Make predictors that run an ONNX file in ONNX Runtime, all faces in one call.

    Args:
        path: The ONNX file.
    """

    def make(threads: int) -> Predictor:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        session = onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])
        return lambda faces: session.run(["probabilities"], {"faces": faces})[0]

    return make


def recognizer_runtime(path: Path) -> PredictorFactory:
    """Make predictors that run an ONNX file in `Recognizer`, which averages over mirror images.

    Args:
        path: The ONNX file.
    """
    return lambda threads: Recognizer(path, threads).classify


def openvino_runtime(path: Path, precision: str) -> PredictorFactory:
    """Make predictors that run an ONNX file in OpenVINO, with one graph per number of faces.

    Args:
        path: The ONNX file.
        precision: "f32" or "bf16". A processor without fast bfloat16 runs "bf16" as "f32", and so
            does any with the environment variable ONEDNN_MAX_CPU_ISA.
    """
    # With this variable set, OpenVINO requests bfloat16 kernels that oneDNN then does not have.
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
    """Return the OpenVINO core of this process.

    Each core installs a signal stack (OpenVINO 2026.4). With several cores, a signal that comes
    after one of them is gone ends the process in a segmentation fault.
    """
    return openvino.Core()


def predict(factory: PredictorFactory, images: np.ndarray) -> np.ndarray:
    """Predict probabilities on all cores, in batches of 128 faces.

    Args:
        factory: Makes the predictor.
        images: Faces, uint8 [N, 48, 48].

    Returns:
        Probabilities, float32 [N, C].
    """
    predictor = factory(cores())
    starts = range(0, len(images), BATCH_SIZE)
    return np.concatenate([predictor(np.array(images[i : i + BATCH_SIZE])) for i in starts])


def compare(
    runtimes: Mapping[str, tuple[Path, PredictorFactory]],
    probabilities: Mapping[str, np.ndarray],
    val: Faces,
    rounds: int,
) -> list[dict[str, str | int | float]]:
    """Compare runtimes by file size, accuracy on val, latency and throughput.

    Args:
        runtimes: Per name, the model file and the factory of predictors.
        probabilities: Per name, the probabilities of the val faces, float32 [N, C].
        val: The val split.
        rounds: Rounds of timing, as in `measure`.

    Returns:
        A row per runtime: "runtime", "bytes", "val_accuracy" (0 to 1), and latency (ms) and
        faces per second, each with 1 thread and with all threads.
    """
    factories = {name: factory for name, (_, factory) in runtimes.items()}
    single, all_threads = (
        measure(factories, val.images, threads, rounds) for threads in (1, cores())
    )
    rows = []
    for name, (file, _) in runtimes.items():
        accuracy = float((probabilities[name].argmax(1) == val.labels).mean())
        rows.append(
            {"runtime": name, "bytes": file.stat().st_size, "val_accuracy": round(accuracy, 6)}
            | {f"{key}_1_thread": value for key, value in single[name].items()}
            | {f"{key}_all_threads": value for key, value in all_threads[name].items()}
        )
        print(
            f"{name}: {rows[-1]['bytes'] / 1000:.0f} kB, val {accuracy:.2%}; on 1 thread "
            f"{single[name]['latency_ms']:.3f} ms per face, "
            f"{single[name]['faces_per_second']} faces/s",
            flush=True,
        )
    return rows


def ratios(rows: list[dict], runtime: str, reference: str) -> dict[str, float]:
    """Divide the size and throughput of one runtime by those of another.

    Args:
        rows: Result of `compare`.
        runtime: Name of the runtime.
        reference: Name of the runtime to divide by.

    Returns:
        The ratios by column; for "val_accuracy", the difference.
    """
    row, base = ({row["runtime"]: row for row in rows}[name] for name in (runtime, reference))
    quotients = {
        key: round(row[key] / base[key], 3)
        for key in ("bytes", "faces_per_second_1_thread", "faces_per_second_all_threads")
    }
    return quotients | {"val_accuracy": round(row["val_accuracy"] - base["val_accuracy"], 6)}


def measure(
    factories: Mapping[str, PredictorFactory], faces: np.ndarray, threads: int, rounds: int = 3
) -> dict[str, dict]:
    """Measure latency and throughput of several runtimes side by side.

    The predictors take turns, so that a slow phase of the machine slows all of them. Throughput is
    that of the fastest round, because other programs can only slow a predictor down.

    Args:
        factories: Per name, the factory of predictors.
        faces: uint8 [N, 48, 48]; repeated where there are fewer than 128.
        threads: Number of threads.
        rounds: Number of turns per predictor.

    Returns:
        Per name, "latency_ms" (median for one face) and "faces_per_second" (128 faces per call).
    """
    predictors = {name: make(threads) for name, make in factories.items()}
    face, batch = np.array(faces[:1]), np.resize(faces[:BATCH_SIZE], (BATCH_SIZE, *faces.shape[1:]))
    latencies: dict[str, list[float]] = {name: [] for name in factories}
    batch_times: dict[str, list[float]] = {name: [] for name in factories}
    for _ in range(rounds):
        for name, predict in predictors.items():
            time.sleep(_PAUSE)
            latencies[name] += _seconds_per_call(predict, face)
            batch_times[name].append(median(_seconds_per_call(predict, batch)))
    return {
        name: {
            "latency_ms": round(1000 * median(latencies[name]), 4),
            "faces_per_second": round(len(batch) / min(batch_times[name])),
        }
        for name in factories
    }


def _seconds_per_call(predict: Predictor, faces: np.ndarray) -> list[float]:
    """Return the mean seconds per call of each block of calls, after a warm-up."""
    predict(faces)
    start = time.perf_counter()
    predict(faces)
    calls = max(1, round(_SECONDS_PER_BLOCK / (time.perf_counter() - start)))
    seconds = []
    end = time.perf_counter() + _SECONDS_PER_ROUND
    while not seconds or time.perf_counter() < end:
        start = time.perf_counter()
        for _ in range(calls):
            predict(faces)
        seconds.append((time.perf_counter() - start) / calls)
    return seconds
