"""The few figures by which runs are compared."""

from collections.abc import Mapping
from typing import Any

import pandas as pd


def headlines(found: Mapping[str, Mapping[str, Any]], ways: pd.DataFrame) -> dict[str, float]:
    """Accuracies (0 to 1) and kilobytes of a data set.

    found: the JSON of each stage
    ways: quantize.csv
    """
    test = found["evaluate"]
    row = ways.set_index("way").loc
    return {
        "val": round(row["ONNX Runtime"]["val_accuracy"], 4),
        "test": round(test["float32"]["plain"]["accuracy"], 4),
        "test_flip": round(test["float32"]["flip_averaged"]["accuracy"], 4),
        "test_int8": round(test["int8"]["plain"]["accuracy"], 4),
        "test_tuned": round(test["tuned"]["plain"]["accuracy"], 4),
        "kB_int8": round(row["ONNX Runtime, our int8"]["bytes"] / 1000, 1),
    }


def speeds(timings: Mapping[str, Mapping[str, Any]], ways: pd.DataFrame) -> dict[str, float]:
    """Ms for a face and seconds an epoch of a data set.

    timings: those of each stage
    ways: runtimes.csv
    """
    latency = ways.set_index("way")["latency_ms_1_thread"]["ONNX Runtime"]
    return {
        "ms": round(float(latency), 3),
        "s_epoch": round(timings["train"]["seconds_per_epoch"]["total"], 2),
    }
