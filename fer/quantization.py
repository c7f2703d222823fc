"""Ranges of the activations for int8; and the usual ways to quantize, to compare with."""

import logging
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path

import numpy as np
import onnx
import torch
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    create_calibrator,
    quantize_static,
)

from fer.export import Ranges

_METHODS = {
    "minmax": CalibrationMethod.MinMax,
    "entropy": CalibrationMethod.Entropy,
    "percentile": CalibrationMethod.Percentile,
}


class _Batches(CalibrationDataReader):
    def __init__(self, images: np.ndarray) -> None:
        # One by one, as the histograms take no batches of different sizes.
        self.batches = iter(np.split(images, len(images)))

    def get_next(self) -> dict[str, np.ndarray] | None:
        batch = next(self.batches, None)
        return None if batch is None else {"faces": batch}


def calibrate(path: Path, images: np.ndarray, method: str) -> Ranges:
    """The range of each tensor in the float32 graph at `path`, over faces uint8 [N, 48, 48].

    method: "minmax"; "entropy", the range that loses least information; "percentile", without
        the outermost 0.001 %
    """
    with tempfile.TemporaryDirectory() as folder:
        shapes = Path(folder, "shapes.onnx")  # the calibrator takes tensors of known shape only
        onnx.save(onnx.shape_inference.infer_shapes(onnx.load(path)), shapes)
        calibrator = create_calibrator(
            shapes,
            augmented_model_path=str(Path(folder, "augmented.onnx")),
            calibrate_method=_METHODS[method],
        )
        with _quiet():
            calibrator.collect_data(_Batches(images))
            found = calibrator.compute_data()
    return {
        name: tuple(float(np.ravel(end)[0]) for end in data.range_value)
        for name, data in found.items()
    }


def quantize_usual(source: Path, target: Path, images: np.ndarray, method: str) -> None:
    """Write the float32 graph at `source` in int8 as ONNX Runtime's own tool does it."""
    with _quiet():
        quantize_static(
            source,
            target,
            _Batches(images),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=_METHODS[method],
        )


def quantize_published(model: torch.nn.Module) -> tuple[torch.nn.Module, int]:
    """The published project's call, and in how many modules it changed anything.

    PyTorch's dynamic quantization is for Linear and recurrent layers; the network has none.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.ao.quantization is deprecated")
        layers = {torch.nn.Linear, torch.nn.Conv2d}
        quantized = torch.ao.quantization.quantize_dynamic(model, layers, dtype=torch.qint8)
    pairs = zip(model.modules(), quantized.modules(), strict=True)
    return quantized, sum(type(before) is not type(after) for before, after in pairs)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the advice that ONNX Runtime's tools print and log."""
    logging.disable(logging.WARNING)
    try:
        with redirect_stdout(StringIO()):
            yield
    finally:
        logging.disable(logging.NOTSET)
