"""Compute the few numbers by which runs are compared.

`results` and `timings` have the content of the JSON files in metrics/ by stage; `runtimes` is
quantize.csv or, for speeds, runtimes.csv.
"""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from fer.report.scores import interval


def headlines(results: Mapping[str, Mapping[str, Any]], runtimes: pd.DataFrame) -> dict[str, float]:
    """Return the accuracies (0 to 1) and the size (kB) that `dvc metrics show` lists."""
    test = results["evaluate"]
    row = runtimes.set_index("runtime").loc
    return {
        "val": round(row["ONNX Runtime, float32"]["val_accuracy"], 4),
        "test": round(test["float32"]["single_view"]["accuracy"], 4),
        "test_int8_flip": round(test["int8"]["flip_averaged"]["accuracy"], 4),
        "damaged": round(test["int8"]["damaged"]["mean"], 4),
        "kB_int8": round(row["ONNX Runtime, int8"]["bytes"] / 1000, 1),
    }


def speeds(timings: Mapping[str, Mapping[str, Any]], runtimes: pd.DataFrame) -> dict[str, float]:
    """Return the latency in ms per face of int8 and the seconds per epoch of the training."""
    latency = runtimes.set_index("runtime")["latency_ms_1_thread"]["ONNX Runtime, int8"]
    return {
        "ms_int8": round(float(latency), 3),
        "s_per_epoch": round(timings["train"]["seconds_per_epoch"]["total"], 2),
    }


def steps(results: Mapping[str, Mapping[str, Any]], runtimes: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the test accuracy after each step of the pipeline, in the order of the steps.

    Returns:
        A row per step: "step", "parameters", "kB" (None before the export), "test_accuracy" (0 to
        1), its "interval" (`scores.interval`), and "gain": its difference from the model that the
        step starts from, None for the baseline. A search that keeps the baseline is no step.
    """
    test, tune, exported = results["evaluate"], results["tune"], results["quantize"]["model"]
    sizes = runtimes.set_index("runtime")["bytes"]
    baseline = (
        "baseline" if tune["winner"]["trial"] or "off" in tune else "baseline, kept by the search"
    )
    table: list[dict[str, Any]] = []
    for step, model, view, start in (
        (baseline, "baseline", "single_view", None),
        ("winner of the search", "tuned", "single_view", "baseline"),
        ("exported in float32", "float32", "single_view", exported),
        ("quantized to int8", "int8", "single_view", "float32"),
        ("int8, averaged with mirror image", "int8", "flip_averaged", "int8"),
    ):
        if model not in test:  # the search may have no winner
            continue
        accuracy = test[model][view]["accuracy"]
        in_file = model in ("float32", "int8")
        table.append(
            {
                "step": step,
                "parameters": test["parameters"][exported if in_file else model],
                "kB": sizes[f"ONNX Runtime, {model}"] / 1000 if in_file else None,
                "test_accuracy": accuracy,
                "interval": interval(accuracy, test["faces"]["test"]),
                "gain": accuracy - test[start]["single_view"]["accuracy"] if start else None,
            }
        )
    return table
