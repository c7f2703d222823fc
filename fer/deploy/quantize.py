"""The int8 graph, right on every processor.

Without VNNI, the kernels for x86 add two products of uint8 and int8 in 16 bits (`vpmaddubsw`),
which end at 32,767. Weights of at most 64 keep every such sum below: 2 * 255 * 64 is 32,640. ONNX
Runtime calls that `reduce_range`; weights that `fer.training.refining` left lose nothing by it.
"""

import warnings
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

from fer.deploy.export import quiet, tidy
from fer.errors import FerError
from fer.files import scratch
from fer.training.refining import LARGEST

_METHODS = {
    "minmax": CalibrationMethod.MinMax,
    "entropy": CalibrationMethod.Entropy,
    "percentile": CalibrationMethod.Percentile,
}

_OPERATORS = ["Add", "AveragePool", "Concat", "Conv", "GlobalAveragePool", "MaxPool", "Mul", "Relu"]
"""What is computed in int8; the mean of the maps and the softmax stay in float32."""

_CHANNELS = 4
"""Of the input, which ONNX Runtime's quick int8 kernels take in fours; those of zeros cost less."""


def quantize(
    source: Path, target: Path, images: np.ndarray, method: str, *, portable: bool = True
) -> None:
    """Write the float32 graph at `source` in int8, by ONNX Runtime's static quantization.

    images: uint8 [N, 48, 48], which show the ranges of the activations
    method: "minmax"; "entropy", the range that loses least information; "percentile", without
        the outermost 0.001 %
    portable: gives the same answers on every processor; otherwise as is usual, weights up to 127
    """
    with scratch(target.parent) as folder, quiet():
        folded = Path(folder, "folded.onnx")
        quant_pre_process(source, folded, skip_symbolic_shape=True)
        written = Path(folder, "quantized.onnx")
        quantize_static(
            folded,
            written,
            _Batches(images),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=_OPERATORS,
            per_channel=True,
            reduce_range=portable,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=_METHODS[method],
        )
        _leave_room(written)
        if portable:
            _quicken_input(written)
        tidy(written, target)


def _leave_room(path: Path) -> None:
    """Halve what an int8 graph's convolutions add up wherever it could leave 32 bits.

    That is where the weights of a channel are next to nothing beside its bias, which has their
    scale; ONNX Runtime makes sure only that the bias by itself fits.
    """
    model = onnx.load(path)
    tensors, makers = _by_name(model.graph)
    for node in model.graph.node:
        if node.op_type != "Conv" or len(node.input) < 3:
            continue
        names = [name for i in (1, 2) for name in makers[node.input[i]].input[:2]]
        weights, scales, bias, bias_scales = (numpy_helper.to_array(tensors[n]) for n in names)
        most = np.abs(bias.astype(float)) + 255 * np.abs(weights.astype(float)).sum((1, 2, 3))
        factor = np.where(most < 2**31, 1, 2).astype(np.float32)
        halved = (
            np.rint(weights / factor[:, None, None, None]).astype(np.int8),
            scales * factor,
            np.rint(bias / factor.astype(float)).astype(np.int32),
            bias_scales * factor,
        )
        for name, array in zip(names, halved, strict=True):
            tensors[name].CopyFrom(numpy_helper.from_array(array, name))
    onnx.save(model, path)


def _quicken_input(path: Path) -> None:
    """Give an int8 graph's first convolution `_CHANNELS` channels, of which one has weights.

    And, where each is its own int8 value, the grey values as they are. It says the same, sooner for
    one face (docs/processors.md). Where something else reads what that convolution does, nothing
    is done.
    """
    model = onnx.load(path)
    graph = model.graph
    tensors, makers = _by_name(graph)
    first = next(node for node in graph.node if node.op_type == "Conv")
    face, weight = (makers[name] for name in first.input[:2])
    stored = numpy_helper.to_array(tensors[weight.input[0]])
    groups = sum(a.i for a in first.attribute if a.name == "group")
    readers = [sum(name in node.input for node in graph.node) for name in first.input[:2]]
    if stored.shape[1] != 1 or groups > 1 or readers != [1, 1]:
        return
    padded = np.pad(stored, ((0, 0), (0, _CHANNELS - 1), (0, 0), (0, 0)))
    tensors[weight.input[0]].CopyFrom(numpy_helper.from_array(padded, weight.input[0]))
    shape = numpy_helper.from_array(np.array([1, _CHANNELS, 1, 1]), "channels")
    graph.initializer.append(shape)
    steps = _needless_steps(face, graph)
    source = steps[-1].input[0] if steps else face.input[0]
    expand = helper.make_node("Expand", [source, shape.name], ["wide"])
    graph.node.insert(list(graph.node).index(face), expand)
    face.input[0] = "wide"
    for node in steps:
        if node.output[0] not in _read(graph):
            graph.node.remove(node)
    for name in {name for node in steps for name in node.input} & set(tensors) - _read(graph):
        graph.initializer.remove(tensors[name])
    onnx.save(model, path)


def _needless_steps(face: onnx.NodeProto, graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """What makes the input of `face` out of uint8 grey values, if that is these values again.

    Last step first: rounded to uint8, divided by a constant, made a float.
    """
    tensors, makers = _by_name(graph)
    steps, name = [], face.input[0]
    for kind in ("QuantizeLinear", "Div", "Cast"):
        if name not in makers or makers[name].op_type != kind:
            return []
        steps.append(makers[name])
        name = makers[name].input[0]
    while name in makers and makers[name].op_type in ("Slice", "Unsqueeze"):
        name = makers[name].input[0]
    rounded, divided, _ = steps
    if name != graph.input[0].name or divided.input[1] not in tensors:
        return []
    names = (divided.input[1], *rounded.input[1:])
    divisor, scale, zero = (numpy_helper.to_array(tensors[name]) for name in names)
    grey = np.arange(256, dtype=np.float32)
    same = divisor.size == 1 and np.array_equal(np.rint(grey / divisor / scale) + zero, grey)
    return steps if same else []


def _read(graph: onnx.GraphProto) -> set[str]:
    """Names of the tensors that something reads."""
    return {name for node in graph.node for name in node.input} | {o.name for o in graph.output}


def _by_name(
    graph: onnx.GraphProto,
) -> tuple[dict[str, onnx.TensorProto], dict[str, onnx.NodeProto]]:
    """A graph's constants, and of each other tensor the node that makes it."""
    tensors = {constant.name: constant for constant in graph.initializer}
    return tensors, {output: node for node in graph.node for output in node.output}


def check_portable(path: Path) -> None:
    """Raise FerError where the answers of the int8 graph at `path` could depend on the processor.

    That is, unless the weights of each convolution are int8 from -64 to 64 with a zero point of 0.
    """
    graph = onnx.load(path).graph
    tensors, makers = _by_name(graph)
    constants = {name: numpy_helper.to_array(tensor) for name, tensor in tensors.items()}
    layers = [node for node in graph.node if node.op_type in ("Conv", "Gemm", "MatMul")]
    for number, node in enumerate(layers, 1):
        weight = makers.get(node.input[1])
        stored = constants.get(weight.input[0]) if weight else None
        if stored is None or stored.dtype != np.int8:
            raise FerError(f"{path}: layer {number} has no int8 weights")
        zero = constants[weight.input[2]]
        if zero.any() or np.abs(stored.astype(int)).max() > LARGEST:
            raise FerError(f"{path}: the sums of layer {number} can leave 16 bits")


def quantize_published(network: nn.Module) -> tuple[nn.Module, int]:
    """The call of the project that ours redoes, and in how many modules it changed anything.

    PyTorch's dynamic quantization is for Linear and recurrent layers; the network has none.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.ao.quantization is deprecated")
        layers = {nn.Linear, nn.Conv2d}
        quantized = torch.ao.quantization.quantize_dynamic(network, layers, dtype=torch.qint8)
    pairs = zip(network.modules(), quantized.modules(), strict=True)
    return quantized, sum(type(before) is not type(after) for before, after in pairs)


def loss_warning(float32: float, int8: float, most: float) -> str | None:
    """What to say where int8 loses more accuracy on val than `most`, all 0 to 1; else None."""
    lost = round(float32 - int8, 6)
    if lost <= most:
        return None
    return f"int8 loses {lost:.2%} of val accuracy, more than quantize.max_loss of {most:.2%}"


class _Batches(CalibrationDataReader):
    def __init__(self, images: np.ndarray) -> None:
        # One by one, as the histograms take no batches of different sizes.
        self.batches = iter(np.split(images, len(images)))

    def get_next(self) -> dict[str, np.ndarray] | None:
        batch = next(self.batches, None)
        return None if batch is None else {"faces": batch}
