"""Write the network as an ONNX graph, in float32 or int8: raw faces in, probabilities out."""

import copy
import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from fer.errors import FerError
from fer.faces import CLASSES, FACE_SIZE, INPUT_SIZE
from fer.files import whole
from fer.model import MiniXception, SeparableConv

Ranges = Mapping[str, tuple[float, float]]
"""The lowest and highest value of each tensor of the float32 graph."""

MAP_SIZE = 3
"""Height and width of the network's last layer."""

_PIXEL = np.float32(1 / 255)
"""Of the step from one grey to the next, in what the network takes."""

NARROW = 8
"""Input channels up to which the int8 kernels are kept busy by tricks, see Int8."""

_MOST = np.array([[128], [128], [127]])
"""The most that `_two_largest` may be of int8 weights, see Int8."""

_COLUMNS = (2, 4, 6)
"""How many columns such a convolution may compute at once."""

_CONTRIB = "com.microsoft"
"""ONNX Runtime's own operators."""


def export(path: Path, model: MiniXception, metadata: Mapping[str, object]) -> None:
    """Write `model` as a float32 graph.

    Its input `faces` is uint8 [N, 48, 48], 0 black to 255 white, with any N. Its outputs are
    `probabilities`, float32 [N, 7], and `maps`, float32 [N, 7, 3, 3]: where in the face the
    network sees each emotion. The mean of a map is the emotion's logit.

    metadata: goes into the file, each value as JSON, beside the classes and our version
    """
    _save(path, Float32(), fold(model), metadata)


def export_int8(
    path: Path, folded: MiniXception, ranges: Ranges, metadata: Mapping[str, object]
) -> None:
    """Write a model as `export` does, with everything up to the maps in int8.

    folded: as `fold` gives it
    ranges: of the tensors of the graph that `export` writes

    Raises FerError where the answers would depend on the processor, see Int8.
    """
    _save(path, Int8(ranges), folded, metadata)


def fold(model: MiniXception) -> MiniXception:
    """A copy of `model` that computes the same, with each BatchNorm inside its convolution."""
    net = copy.deepcopy(model).cpu().eval()
    net.conv1, net.bn1 = fuse_conv_bn_eval(net.conv1, net.bn1), nn.Identity()
    net.conv2, net.bn2 = fuse_conv_bn_eval(net.conv2, net.bn2), nn.Identity()
    for block in net.blocks:
        block.conv1.pointwise = fuse_conv_bn_eval(block.conv1.pointwise, block.bn1)
        block.conv2.pointwise = fuse_conv_bn_eval(block.conv2.pointwise, block.bn2)
        block.shortcut = fuse_conv_bn_eval(block.shortcut, block.shortcut_bn)
        block.bn1 = block.bn2 = block.shortcut_bn = nn.Identity()
    return net.requires_grad_(False)


def merge(conv: SeparableConv) -> torch.Tensor:
    """The weight [O, I, 3, 3] of the one convolution that does what a folded `conv` does."""
    return conv.pointwise.weight * conv.depthwise.weight.transpose(0, 1)


def walk(graph: Any, net: MiniXception) -> Any:
    """Hand the layers of the folded `net` to `graph`, which has the methods of Float32.

    Returns what `graph` makes of the last of them.
    """
    x = graph.conv("conv1", graph.faces(), net.conv1, relu=True)
    x = graph.conv("conv2", x, net.conv2, relu=True)
    for number, block in enumerate(net.blocks, 1):
        name = f"block{number}"
        residual = graph.separable(f"{name}.conv1", x, block.conv1, relu=True)
        residual = graph.separable(f"{name}.conv2", residual, block.conv2, relu=False)
        residual = graph.max_pool(f"{name}.pool", residual)
        # With the stride that training on a CPU must do without, see fer/model.py.
        shortcut = graph.conv(f"{name}.shortcut", x, block.shortcut, relu=False, stride=2)
        x = graph.add(name, shortcut, residual)
    return graph.maps(graph.conv("last_conv", x, net.last_conv, relu=False))


def _save(path: Path, graph: "Float32", net: MiniXception, metadata: Mapping[str, object]) -> None:
    walk(graph, net)
    content = graph.finish()
    about = {"classes": CLASSES, "producer": f"fer-pipeline {version('fer-pipeline')}", **metadata}
    helper.set_model_props(content, {key: json.dumps(value) for key, value in about.items()})
    with whole(path) as temporary:
        onnx.save(content, temporary)


class Float32:
    """A graph of standard operators; tensors between layers are [N, channels, height, width]."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def faces(self) -> str:
        """What the network takes: the inner 44x44 pixels, still 0 to 255."""
        shape = [-1, 1, INPUT_SIZE, INPUT_SIZE]
        x = self._reshape("crop", self._crop(), shape)
        x = self._node("Cast", [x], "grey", to=TensorProto.FLOAT)
        return self._node("Mul", [x, self._const(_PIXEL)], "input")

    def conv(self, name: str, x: str, conv: nn.Conv2d, *, relu: bool, stride: int = 1) -> str:
        """A convolution of the network; `stride` in place of its own."""
        inputs = [x, self._const(conv.weight.numpy())]
        if conv.bias is not None:
            inputs.append(self._const(conv.bias.numpy()))
        attributes = _conv_attributes(conv, stride)
        if not relu:
            return self._node("Conv", inputs, name, **attributes)
        return self._node("Relu", [self._node("Conv", inputs, f"{name}.sum", **attributes)], name)

    def separable(self, name: str, x: str, conv: SeparableConv, *, relu: bool) -> str:
        """A depthwise and a pointwise convolution."""
        x = self.conv(f"{name}.depthwise", x, conv.depthwise, relu=False)
        return self.conv(name, x, conv.pointwise, relu=relu)

    def max_pool(self, name: str, x: str) -> str:
        """The largest of 3x3, at every other pixel."""
        return self._node("MaxPool", [x], name, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)

    def add(self, name: str, a: str, b: str) -> str:
        """The sum."""
        return self._node("Add", [a, b], name)

    def maps(self, x: str) -> None:
        """From the last layer to the outputs."""
        self._node("Identity", [x], "maps")
        axes = self._const(np.array([2, 3]))
        logits = self._node("ReduceMean", ["maps", axes], "logits", keepdims=0)
        self._node("Softmax", [logits], "probabilities", axis=1)

    def finish(self) -> onnx.ModelProto:
        """The model."""

        def tensor(name: str, kind: int, *shape: int) -> onnx.ValueInfoProto:
            return helper.make_tensor_value_info(name, kind, ["N", *shape])

        graph = helper.make_graph(
            self.nodes,
            "fer",
            [tensor("faces", TensorProto.UINT8, FACE_SIZE, FACE_SIZE)],
            [
                tensor("probabilities", TensorProto.FLOAT, len(CLASSES)),
                tensor("maps", TensorProto.FLOAT, len(CLASSES), MAP_SIZE, MAP_SIZE),
            ],
            self.constants,
        )
        opsets = [helper.make_opsetid("", 20), helper.make_opsetid(_CONTRIB, 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=10)

    def _crop(self) -> str:
        margin = (FACE_SIZE - INPUT_SIZE) // 2
        numbers = ([margin] * 2, [margin + INPUT_SIZE] * 2, [1, 2])  # starts, ends, axes
        return self._node("Slice", ["faces", *(self._const(np.array(n)) for n in numbers)], "inner")

    def _reshape(self, name: str, x: str, shape: list[int]) -> str:
        return self._node("Reshape", [x, self._const(np.array(shape))], name)

    def _const(self, value: np.ndarray) -> str:
        name = f"c{len(self.constants)}"  # short, as it counts in the size of the file
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def _node(self, op: str, inputs: list[str], output: str, **attributes: object) -> str:
        self.nodes.append(helper.make_node(op, inputs, [output], **attributes))
        return output


class Int8(Float32):
    """A graph of ONNX Runtime's quantized operators; tensors are [N, height, width, channels].

    Activations are uint8 with a scale and a zero point, weights int8 with a scale for each output
    channel (Jacob et al. 2018, arXiv:1712.05877). The faces are uint8 as they come.

    Without VNNI, the kernels for x86 add two products of uint8 and int8 in 16 bits (`vpmaddubsw`),
    which end at 32,767. As it depends on the kernel which two, no two weights of an output channel
    that have the same sign are more than 128 together: 255 * 128 is 32,640. So every processor
    gives the same sums.

    The int8 kernels take 16 channels and more at a time, and spend much on each pixel: the first
    layers, of 1 and 8 channels, would take 70 % of the time. There, two things are done that
    change nothing but rounding, and make the whole network 1.7 times as fast:

    - A convolution computes several columns at once, as further output channels: its kernel is
      as much wider, its stride as many columns. Two columns of its input, too, are taken as one
      of twice the channels, unless padding is in the way. In this layout, a pixel's channels
      stand together, so that both are other shapes of the same tensors.
    - A depthwise convolution and the pointwise one after it are one ordinary convolution.
    """

    def __init__(self, ranges: Ranges) -> None:
        super().__init__()
        self.ranges = ranges
        self.scales: dict[str, np.float32] = {}
        self.quantization: dict[str, list[str]] = {}
        """Of each tensor, the names of its scale and zero point."""
        self.sizes: dict[str, int] = {}
        """Of each tensor, the height and width."""

    def faces(self) -> str:
        """The inner 44x44 pixels."""
        x = self._reshape("input", self._crop(), [-1, INPUT_SIZE, INPUT_SIZE, 1])
        self.sizes[x] = INPUT_SIZE
        return self._quantized(x, _PIXEL, 0)

    def conv(self, name: str, x: str, conv: nn.Conv2d, *, relu: bool, stride: int = 1) -> str:
        """A convolution of the network; a ReLU is an output that starts from 0."""
        bias = np.zeros(conv.out_channels, np.float32) if conv.bias is None else conv.bias.numpy()
        return self._conv(name, x, conv.weight.numpy(), bias, relu, _conv_attributes(conv, stride))

    def separable(self, name: str, x: str, conv: SeparableConv, *, relu: bool) -> str:
        """A depthwise and a pointwise convolution, for few channels as one."""
        if conv.depthwise.in_channels > NARROW:
            return super().separable(name, x, conv, relu=relu)
        attributes = _conv_attributes(conv.depthwise, 1) | {"group": 1}
        return self._conv(
            name, x, merge(conv).numpy(), conv.pointwise.bias.numpy(), relu, attributes
        )

    def max_pool(self, name: str, x: str) -> str:
        """The largest of 3x3, at every other pixel."""
        self.quantization[name] = self.quantization[x]
        window = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1] * 4}
        return self._node("NhwcMaxPool", [x], name, domain=_CONTRIB, **window)

    def add(self, name: str, a: str, b: str) -> str:
        """The sum."""
        self.sizes[name] = self.sizes[a]
        self._quantized(name, *scale_and_zero(self.ranges[name]))
        inputs = [a, *self.quantization[a], b, *self.quantization[b], *self.quantization[name]]
        return self._node("QLinearAdd", inputs, name, domain=_CONTRIB)

    def maps(self, x: str) -> None:
        """From the last layer to the outputs."""
        x = self._node("DequantizeLinear", [x, *self.quantization[x]], "last_conv.float")
        super().maps(self._node("Transpose", [x], "last_conv.maps", perm=[0, 3, 1, 2]))

    def _conv(
        self,
        name: str,
        x: str,
        weight: np.ndarray,
        bias: np.ndarray,
        relu: bool,
        attributes: dict[str, object],
    ) -> str:
        outputs, inputs, kernel, _ = weight.shape
        stride, padding = attributes["strides"][0], attributes["pads"][0]
        source, size = x, (self.sizes[x] + 2 * padding - kernel) // stride + 1
        narrow = inputs <= NARROW and attributes["group"] == 1 < kernel
        if narrow:
            columns = max(c for c in _COLUMNS if size % c == 0)
            pair = 1 if padding else 2
            if pair > 1:
                shape = [-1, self.sizes[x], self.sizes[x] // pair, inputs * pair]
                source = self._reshape(f"{name}.pairs", x, shape)
            weight, bias = _widen(weight, columns, pair), np.tile(bias, columns)
            steps = {"kernel_shape": weight.shape[2:], "strides": [1, columns // pair]}
            attributes = attributes | steps

        scale, zero = scale_and_zero(self.ranges[name], relu)
        scales = weight_scales(weight)
        self._quantized(name, scale, zero)
        self.sizes[name] = size
        operands = [
            source,
            *self.quantization[x],
            self._const(_checked(name, np.rint(weight / scales[:, None, None, None]))),
            self._const(scales),
            self._const(np.int8(0)),
            *self.quantization[name],
            self._const(np.rint(bias / (scales * self.scales[x])).astype(np.int32)),
        ]
        attributes = attributes | {"domain": _CONTRIB, "channels_last": 1}
        if not narrow:
            return self._node("QLinearConv", operands, name, **attributes)
        wide = self._node("QLinearConv", operands, f"{name}.wide", **attributes)
        return self._reshape(name, wide, [-1, size, size, outputs])

    def _quantized(self, x: str, scale: np.float32, zero: int) -> str:
        self.scales[x] = scale
        self.quantization[x] = [self._const(scale), self._const(np.uint8(zero))]
        return x


def with_zero(low: float, high: float) -> tuple[float, float]:
    """A range made to hold 0, as a padding is 0."""
    return min(low, 0.0), max(high, 1e-6)


def scale_and_zero(ends: tuple[float, float], relu: bool = False) -> tuple[np.float32, int]:
    """Scale and zero point of uint8 for a range; relu: what is below 0 becomes 0."""
    low, high = with_zero(*ends)
    low = 0.0 if relu else low
    scale = np.float32((high - low) / 255)
    return scale, round(-low / float(scale))


def weight_scales(weight: np.ndarray) -> np.ndarray:
    """Of each output channel of a weight [O, I, H, W], the step from one integer to the next.

    As small as can be, so that the two largest of a sign give 128 in all, and none is above 127;
    a hundredth less, as both are rounded.
    """
    return (_two_largest(weight) / (_MOST - 0.01)).max(0).clip(min=1e-12).astype(np.float32)


def _two_largest(weight: np.ndarray) -> np.ndarray:
    """[3, O] of each output channel: the sum of the two highest, of the two lowest, the largest."""
    flat = np.sort(weight.reshape(len(weight), -1), 1)
    highest, lowest = flat[:, -2:].clip(min=0), -flat[:, :2].clip(max=0)
    return np.stack([highest.sum(1), lowest.sum(1), np.maximum(highest[:, -1], lowest[:, 0])])


def _checked(name: str, weight: np.ndarray) -> np.ndarray:
    """Integers [O, I, H, W] as int8; an error where two products could leave 16 bits."""
    if (_two_largest(weight) > _MOST).any():
        raise FerError(f"{name}: in 16 bits, the sum of two products of its weights can overflow")
    return weight.astype(np.int8)


def _conv_attributes(conv: nn.Conv2d, stride: int) -> dict[str, object]:
    return {
        "group": conv.groups,
        "kernel_shape": list(conv.kernel_size),
        "pads": list(conv.padding) * 2,
        "strides": [stride] * 2,
    }


def _widen(weight: np.ndarray, columns: int, pair: int) -> np.ndarray:
    """Weights of a convolution that computes so many columns at once, and takes `pair` as one.

    From [O, I, H, W] to [columns * O, pair * I, H, (columns + W - 1) / pair].
    """
    outputs, inputs, height, width = weight.shape
    seen = columns + width - 1
    wide = np.zeros((columns, outputs, inputs, height, seen), weight.dtype)
    for column in range(columns):
        wide[column, ..., column : column + width] = weight
    wide = wide.reshape(columns * outputs, inputs, height, seen // pair, pair)
    return wide.transpose(0, 4, 1, 2, 3).reshape(columns * outputs, pair * inputs, height, -1)
