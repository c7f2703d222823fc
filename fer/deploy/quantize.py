"""Quantize an ONNX graph to int8 so that every processor gives the same predictions.

Without VNNI, int8 kernels for x86 add two products of uint8 and int8 in 16 bits (`vpmaddubsw`) and
saturate at 32,767. Weights of at most 64 keep each sum below: 2 * 255 * 64 is 32,640. ONNX Runtime
calls this `reduce_range`. Weights from `fer.training.qat` lose nothing by it.
"""

import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch import nn

from fer.core.errors import FerError
from fer.deploy.export import quiet, strip_names
from fer.training.qat import MAX_WEIGHT

_METHODS = {
    "minmax": CalibrationMethod.MinMax,
    "entropy": CalibrationMethod.Entropy,
    "percentile": CalibrationMethod.Percentile,
}

_LAYERS = ("Conv", "Gemm", "MatMul")
"""Operators with weights: convolutions and `nn.Linear`."""

_POOLINGS = ("AveragePool", "GlobalAveragePool", "MaxPool")

_OPERATORS = [*_LAYERS, *_POOLINGS, "Add", "Concat", "Mul", "Relu"]
"""Operators that are computed in int8; all others stay in float32, as the mean and the softmax."""

_SHARE = 512
"""Calibration faces per share: `compact` has 1.3 MB of activations per face."""

_MAX_ENTROPY_FACES = 2048
"""Most calibration faces of "entropy", which gives poor ranges from several shares."""

_INPUT_CHANNELS = 4
"""Channels of the input after padding: ONNX Runtime's fast int8 kernels take channels in fours."""


def quantize(
    source: Path, target: Path, images: np.ndarray, method: str, *, portable: bool = True
) -> None:
    """Quantize a float32 graph to int8, by ONNX Runtime's static quantization.

    Args:
        source: The float32 ONNX file.
        target: The int8 ONNX file to write.
        images: Calibration faces, uint8 [N, 48, 48], from which the ranges of activations follow.
        method: "minmax"; "entropy", the range that loses least information; or "percentile",
            without the outermost 0.001 %.
        portable: With True, weights up to 64, for the same predictions on every processor. With
            False, weights up to 127, which need VNNI.

    Raises:
        FerError: If the file cannot be written, or there are too many faces for "entropy".
    """
    is_entropy = method == "entropy"
    if is_entropy and len(images) > _MAX_ENTROPY_FACES:
        raise FerError(
            f"quantize.calibration_faces: {len(images)} faces are too many for entropy, which "
            f"keeps all activations in memory; use at most {_MAX_ENTROPY_FACES}, or percentile"
        )
    with tempfile.TemporaryDirectory() as folder, quiet():
        folded = Path(folder, "folded.onnx")
        quant_pre_process(source, folded, skip_symbolic_shape=True)
        without_int8 = _name_nodes(folded)
        quantized = Path(folder, "quantized.onnx")
        quantize_static(
            folded,
            quantized,
            _CalibrationReader(images, len(images) if is_entropy else _SHARE),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=_OPERATORS,
            nodes_to_exclude=without_int8,
            per_channel=True,
            reduce_range=portable,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=_METHODS[method],
            extra_options={"CalibStridedMinMax": 1},  # one share at a time
        )
        _prevent_int32_overflow(quantized)
        if portable:
            _pad_input_channels(quantized)
        strip_names(quantized, target)


def pick_calibration_faces(images: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Return a random choice of faces, uint8 [M, 48, 48], in their order.

    Args:
        images: uint8 [N, 48, 48].
        count: Number of faces M; all N if there are fewer.
        seed: Seed of the choice.
    """
    order = np.random.default_rng(seed).permutation(len(images))
    return images[np.sort(order[:count])]


def _name_nodes(path: Path) -> list[str]:
    """Name the nodes of a float32 graph, and return the names of layers without an int8 form.

    ONNX Runtime needs the names where two nodes share a bias. Layers without an int8 form have
    computed weights, a bias that is not one constant per output, or factors (`torch.addmm`).
    """
    model = onnx.load(path)
    shapes = {constant.name: list(constant.dims) for constant in model.graph.initializer}
    without = []
    for number, node in enumerate(model.graph.node):
        node.name = f"node{number}"
        if node.op_type not in _LAYERS:
            continue
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        weights, *bias = (shapes.get(name) for name in node.input[1:])
        is_row = node.op_type == "Conv" or attributes.get("transB")
        outputs = weights and [weights[0 if is_row else -1]]
        factors = {attributes.get("alpha", 1), attributes.get("beta", 1)}
        if not weights or any(shape != outputs for shape in bias) or factors != {1}:
            without.append(node.name)
    onnx.save(model, path)
    return without


def _prevent_int32_overflow(path: Path) -> None:
    """Halve weights and bias of output channels of an int8 graph that could overflow 32 bits.

    This happens if the weights of a channel are tiny beside its bias, because both have the same
    scale. ONNX Runtime only ensures that the bias alone fits. Layers may share weights.
    """
    model = onnx.load(path)
    tensors, producers = _index_graph(model.graph)

    def scale(name: str, factor: np.ndarray) -> None:
        array = numpy_helper.to_array(tensors[name])
        scaled = array * factor
        if array.dtype != np.float32:
            scaled = np.rint(scaled)
        tensors[name].CopyFrom(numpy_helper.from_array(scaled.astype(array.dtype), name))

    biases: dict[tuple[str, str, int], dict[str, str]] = {}
    for node in model.graph.node:
        if node.op_type in _LAYERS and set(node.input[1:]) <= set(producers) and node.input[2:]:
            weight, bias = (producers[name] for name in node.input[1:3])
            axis = next(a.i for a in weight.attribute if a.name == "axis")
            of_weight = biases.setdefault((weight.input[0], weight.input[1], axis), {})
            of_weight[bias.input[0]] = bias.input[1]
    for (weight_name, scale_name, axis), scales in biases.items():
        weights = np.abs(numpy_helper.to_array(tensors[weight_name]).astype(float))
        others = tuple(i for i in range(weights.ndim) if i != axis)
        largest = np.max(
            [np.abs(numpy_helper.to_array(tensors[n]).astype(float)) for n in scales], 0
        )
        factor = np.where(largest + 255 * weights.sum(others) < 2**31, 1, 2).astype(np.float32)
        scale(weight_name, 1 / np.expand_dims(factor, others))
        scale(scale_name, factor)
        for bias_name, bias_scale_name in scales.items():
            scale(bias_name, 1 / factor.astype(float))
            scale(bias_scale_name, factor)
    onnx.save(model, path)


def _pad_input_channels(path: Path) -> None:
    """Pad the input of an int8 graph's first convolution to `_INPUT_CHANNELS` channels.

    The added channels have zero weights, so the result is the same, and one face takes less time
    (docs/processors.md). The grey values go in unscaled where scaling and rounding would give the
    same int8 values. Nothing is done if another node uses the same input or weights.
    """
    model = onnx.load(path)
    graph = model.graph
    tensors, producers = _index_graph(graph)
    first = next((node for node in graph.node if node.op_type == "Conv"), None)
    if first is None:
        return
    face, weight = (producers[name] for name in first.input[:2])
    kernel = numpy_helper.to_array(tensors[weight.input[0]])
    groups = sum(a.i for a in first.attribute if a.name == "group")
    consumers = [sum(name in node.input for node in graph.node) for name in first.input[:2]]
    if kernel.ndim != 4 or kernel.shape[1] != 1 or groups > 1 or consumers != [1, 1]:
        return
    padded = np.pad(kernel, ((0, 0), (0, _INPUT_CHANNELS - 1), (0, 0), (0, 0)))
    tensors[weight.input[0]].CopyFrom(numpy_helper.from_array(padded, weight.input[0]))
    shape = numpy_helper.from_array(np.array([1, _INPUT_CHANNELS, 1, 1]), "channels")
    graph.initializer.append(shape)
    steps = _redundant_input_steps(face, graph)
    source = steps[-1].input[0] if steps else face.input[0]
    expand = helper.make_node("Expand", [source, shape.name], ["wide"])
    graph.node.insert(list(graph.node).index(face), expand)
    face.input[0] = "wide"
    for node in steps:
        if node.output[0] not in _used_tensors(graph):
            graph.node.remove(node)
    inputs = {name for node in steps for name in node.input}
    for name in inputs & set(tensors) - _used_tensors(graph):
        graph.initializer.remove(tensors[name])
    onnx.save(model, path)


def _redundant_input_steps(face: onnx.NodeProto, graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """Return the nodes before `face` that map uint8 grey values to the same uint8 values.

    They are, last one first: rounding to uint8, division by a constant, cast to float. The list is
    empty if they change a value.
    """
    tensors, producers = _index_graph(graph)
    steps, name = [], face.input[0]
    for operator in ("QuantizeLinear", "Div", "Cast"):
        if name not in producers or producers[name].op_type != operator:
            return []
        steps.append(producers[name])
        name = producers[name].input[0]
    while name in producers and producers[name].op_type in ("Slice", "Unsqueeze"):
        name = producers[name].input[0]
    rounding, division, _ = steps
    if name != graph.input[0].name or division.input[1] not in tensors:
        return []
    names = (division.input[1], *rounding.input[1:])
    divisor, scale, zero = (numpy_helper.to_array(tensors[name]) for name in names)
    grey = np.arange(256, dtype=np.float32)
    is_same = divisor.size == 1 and np.array_equal(np.rint(grey / divisor / scale) + zero, grey)
    return steps if is_same else []


def _used_tensors(graph: onnx.GraphProto) -> set[str]:
    """Return the names of the tensors that a node or the output uses."""
    return {name for node in graph.node for name in node.input} | {o.name for o in graph.output}


def _index_graph(
    graph: onnx.GraphProto,
) -> tuple[dict[str, onnx.TensorProto], dict[str, onnx.NodeProto]]:
    """Return a graph's constants by name, and the node that produces each other tensor."""
    tensors = {constant.name: constant for constant in graph.initializer}
    return tensors, {output: node for node in graph.node for output in node.output}


def check_portable(path: Path) -> None:
    """Check that the int8 sums of a graph are the same on every processor.

    Args:
        path: The int8 ONNX file.

    Raises:
        FerError: If a convolution or linear layer has other weights than int8 from -64 to 64 with
            zero point 0.
    """
    graph = onnx.load(path).graph
    tensors, producers = _index_graph(graph)
    constants = {name: numpy_helper.to_array(tensor) for name, tensor in tensors.items()}
    layers = [node for node in graph.node if node.op_type in _LAYERS]
    for number, node in enumerate(layers, 1):
        weight = producers.get(node.input[1])
        kernel = constants.get(weight.input[0]) if weight else None
        if kernel is None or kernel.dtype != np.int8:
            raise FerError(
                f"{path.name}: layer {number} ({node.op_type}) has no constant int8 weights; use "
                "nn.Conv2d and nn.Linear, and no products of activations such as attention"
            )
        zero = constants[weight.input[2]]
        if zero.any() or np.abs(kernel.astype(int)).max() > MAX_WEIGHT:
            raise FerError(
                f"{path.name}: the sums of layer {number} can leave 16 bits; quantize it with "
                "portable=True"
            )


def quantize_dynamic(network: nn.Module) -> tuple[nn.Module, int]:
    """Apply PyTorch's dynamic quantization, as the student project did that this one redoes.

    It covers linear and recurrent layers, of which the networks in `NETWORKS` have none.

    Args:
        network: The trained network.

    Returns:
        The quantized network, and the number of modules that changed.
    """
    with warnings.catch_warnings():
        deprecated = r"torch\.(ao\.quantization|quantize_per_tensor)"
        warnings.filterwarnings("ignore", message=deprecated)
        layers = {
            name: torch.ao.quantization.default_dynamic_qconfig
            for name, module in network.named_modules()
            if type(module) in (nn.Linear, nn.Conv2d)  # no parametrized ones, as of weight_norm
        }
        quantized = torch.ao.quantization.quantize_dynamic(network, layers, dtype=torch.qint8)
    changed = sum(
        type(module) is not type(quantized.get_submodule(name))
        for name, module in network.named_modules()
    )
    return quantized, changed


def accuracy_drop_warning(float32: float, int8: float, limit: float) -> str | None:
    """Return a warning if int8 loses too much accuracy; otherwise None.

    Args:
        float32: Accuracy of float32 on val, 0 to 1.
        int8: Accuracy of int8 on val, 0 to 1.
        limit: Largest drop without a warning, 0 to 1.
    """
    drop = round(float32 - int8, 6)
    if drop <= limit:
        return None
    return (
        f"int8 loses {drop:.2%} of val accuracy, more than quantize.max_accuracy_drop {limit:.2%}"
    )


class _CalibrationReader(CalibrationDataReader):
    """Reader of the calibration faces in shares, because ONNX Runtime keeps all activations of one.

    Its methods are those that `quantize_static` calls with the option `CalibStridedMinMax`, which
    works with every method of calibration.
    """

    def __init__(self, images: np.ndarray, size: int) -> None:
        self.shares = [images[i : i + size] for i in range(0, len(images), size)]
        self.batches: Iterator[np.ndarray] = iter(())

    def __len__(self) -> int:
        return len(self.shares)

    def set_range(self, start_index: int, end_index: int) -> None:
        share = np.concatenate(self.shares[start_index:end_index])
        # One by one, because the histograms need batches of one size.
        self.batches = iter(np.split(share, len(share)))

    def get_next(self) -> dict[str, np.ndarray] | None:
        batch = next(self.batches, None)
        return None if batch is None else {"faces": batch}
