"""Quantize an ONNX graph to int8 so that every processor gives the same predictions.

Without VNNI, int8 kernels for x86 add two products of uint8 and int8 in 16 bits (`vpmaddubsw`) and
saturate at 32,767. Weights of at most 64 keep each sum below: 2 * 255 * 64 is 32,640. ONNX Runtime
calls this `reduce_range`. Weights from `fer.training.qat` lose nothing by it.
"""

import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

from fer.core.errors import FerError
from fer.deploy.export import quiet, write_short
from fer.training.qat import MAX_WEIGHT

_METHODS = {"minmax": CalibrationMethod.MinMax, "percentile": CalibrationMethod.Percentile}

_LAYERS = ("Conv", "Gemm", "MatMul")
"""Operators with weights: convolutions and `nn.Linear`."""

_OPERATORS = ["AveragePool", "GlobalAveragePool", "MaxPool", "Add", "Concat", "Mul", "Relu"]
"""Other operators in int8; what is left stays in float32, as the mean and the softmax."""

_INPUT_STEPS = ("DequantizeLinear", "QuantizeLinear", "Div", "Cast", "Slice", "Slice", "Unsqueeze")
"""Operators from the first convolution back to the faces: scaling, and the crop before it."""


def quantize(
    source: Path, target: Path, images: np.ndarray, method: str, *, reduce_range: bool = True
) -> None:
    """Quantize a float32 ONNX file to int8, by ONNX Runtime's static quantization.

    The ranges of the activations follow from calibration faces, uint8 [N, 48, 48]. `method` is
    "minmax" or "percentile", which leaves out the outermost 0.001 %. With `reduce_range`, weights
    go up to 64, for the same predictions on every processor; otherwise up to 127, which needs VNNI.
    """
    with tempfile.TemporaryDirectory() as folder, quiet():
        folded, quantized = Path(folder, "folded.onnx"), Path(folder, "quantized.onnx")
        quant_pre_process(source, folded, skip_symbolic_shape=True)
        model = onnx.load(folded)
        for number, node in enumerate(model.graph.node):
            node.name = f"node{number}"  # needed where two nodes share a bias
        quantize_static(
            model,
            quantized,
            _CalibrationReader(images),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=[*_LAYERS, *_OPERATORS],
            per_channel=True,
            reduce_range=reduce_range,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=_METHODS[method],
        )
        model = onnx.load(quantized)
    if reduce_range:
        _pad_input_channels(model.graph)
    write_short(model, target)


class _CalibrationReader(CalibrationDataReader):
    """Gives the faces one by one, because the histograms need batches of one size."""

    def __init__(self, images: np.ndarray) -> None:
        self.batches = iter([{"faces": face[None]} for face in images])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self.batches, None)


def pick_calibration_faces(images: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Return a random choice of at most `count` faces, uint8 [M, 48, 48], in their order."""
    order = np.random.default_rng(seed).permutation(len(images))
    return images[np.sort(order[:count])]


def _pad_input_channels(graph: onnx.GraphProto) -> None:
    """Pad the input of an int8 graph's first convolution to four channels.

    ONNX Runtime's fast int8 kernels take channels in fours (docs/processors.md). The added ones
    have zero weights, so the result is the same. The grey values go in unscaled where scaling and
    rounding would give the same int8 values. Nothing is done in other networks.
    """
    tensors, producers = _index_graph(graph)
    first = next((node for node in graph.node if node.op_type == "Conv"), None)
    steps, name = [], first.input[0] if first else ""
    while name in producers:
        steps.append(producers[name])
        name = steps[-1].input[0]
    if tuple(node.op_type for node in steps) != _INPUT_STEPS:
        return
    if any(sum(name in node.input for node in graph.node) > 1 for name in first.input[:2]):
        return
    constant = producers[first.input[1]].input[0]
    kernel = numpy_helper.to_array(tensors[constant])
    padded = np.pad(kernel, ((0, 0), (0, 3), (0, 0), (0, 0)))
    tensors[constant].CopyFrom(numpy_helper.from_array(padded, constant))
    shape = numpy_helper.from_array(np.array([1, 4, 1, 1]), "channels")
    graph.initializer.append(shape)

    dequantize, rounding, division, cast = steps[:4]
    names = (division.input[1], *rounding.input[1:])
    divisor, scale, zero = (numpy_helper.to_array(tensors[name]) for name in names)
    grey = np.arange(256, dtype=np.float32)
    is_same = np.array_equal(np.rint(grey / divisor / scale) + zero, grey)
    source = cast.input[0] if is_same else rounding.output[0]
    expand = helper.make_node("Expand", [source, shape.name], ["wide"])
    graph.node.insert(list(graph.node).index(dequantize), expand)
    dequantize.input[0] = "wide"
    used = {output.name for output in graph.output}
    for node in reversed(list(graph.node)):
        if used & set(node.output):
            used.update(node.input)
        else:
            graph.node.remove(node)
    for constant in list(graph.initializer):
        if constant.name not in used:
            graph.initializer.remove(constant)


def _index_graph(graph: onnx.GraphProto) -> tuple[dict, dict]:
    """Return a graph's constants by name, and the node that produces each other tensor."""
    tensors = {constant.name: constant for constant in graph.initializer}
    return tensors, {output: node for node in graph.node for output in node.output}


def check_portable(path: Path) -> None:
    """Check that the int8 sums of a graph are the same on every processor."""
    graph = onnx.load(path).graph
    tensors, producers = _index_graph(graph)
    layers = [node for node in graph.node if node.op_type in _LAYERS]
    for number, node in enumerate(layers, 1):
        weight = producers.get(node.input[1])
        kernel = tensors.get(weight.input[0]) if weight else None
        if kernel is None or kernel.data_type != onnx.TensorProto.INT8:
            raise FerError(
                f"{path.name}: layer {number} ({node.op_type}) has no constant int8 weights; use "
                "nn.Conv2d and nn.Linear, and no products of activations such as attention"
            )
        if np.abs(numpy_helper.to_array(kernel).astype(int)).max() > MAX_WEIGHT:
            raise FerError(
                f"{path.name}: the sums of layer {number} can leave 16 bits; quantize it with "
                "reduce_range=True"
            )


def check_differences(probabilities: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Return how far the exported files are from the network, by the probabilities of a runtime."""
    reference = probabilities["ONNX Runtime, float32"]
    float32 = np.abs(probabilities["PyTorch, float32"] - reference).max()
    int8 = np.abs(probabilities["ONNX Runtime, int8"] - reference).mean()
    if not (float32 <= 1e-4 and int8 <= 0.05):  # usual are 0.000002 and 0.003
        raise FerError(
            f"stage quantize: float32 differs by {float32:.5f} from PyTorch, and int8 by {int8:.3f}"
            "; use the versions in pyproject.toml, or another quantize.calibration_method"
        )
    return {
        "max_difference_float32": round(float(float32), 7),
        "mean_difference_int8": round(float(int8), 5),
    }


def accuracy_drop_warning(float32: float, int8: float, limit: float) -> str | None:
    """Return a warning if int8 loses more accuracy on val than the limit, all three 0 to 1."""
    drop = round(float32 - int8, 6)
    if drop <= limit:
        return None
    return (
        f"int8 loses {drop:.2%} of val accuracy, more than quantize.max_accuracy_drop {limit:.2%}"
    )
