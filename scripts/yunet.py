"""Write fer/predict/yunet.onnx, the face detector, out of the package of its first author.

    pip download --no-deps yuface==2023.5.1
    python -m scripts.yunet yuface-2023.5.1-*.whl

YuNet (Wu, Peng and Yu 2023, Machine Intelligence Research 20:656-665) comes in `yuface` as a shared
library, here for Linux on x86-64, whose tables of weights are named as they were in PyTorch. They
become a graph of ONNX, that of the library's `objectdetect_cnn`, but for what is of no use here: it
takes grey pictures, the first layer's weights being summed over the colours, and of eyes, nose and
mouth it tells the middle only. The licence, BSD of 3 clauses, is written beside it.
"""

import argparse
import ctypes
import math
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from fer.errors import exit_on_error
from fer.files import seal

TARGET = Path("fer/predict/yunet.onnx")
LIBRARY = "yuface/libfacedetection.so"
LICENCE = "yuface-2023.5.1.dist-info/LICENSE"
CHANNELS = (16, 16, 32, 64, 64, 64, 64)
"""Of the first layer and of each stage."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("wheel", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(given.wheel) as wheel:
        wheel.extractall(folder)
        library = ctypes.CDLL(str(Path(folder, LIBRARY)))
        TARGET.with_suffix(".LICENSE").write_bytes(wheel.read(LICENCE))
    TARGET.write_bytes(seal(Graph(library).model().SerializeToString()))


class Graph:
    """Nodes with the weights of a library."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self.library = library
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def model(self) -> onnx.ModelProto:
        """Takes uint8 [1, 1, H, W], the sides multiples of 32."""
        outputs = self.network()
        pixels = helper.make_tensor_value_info("pixels", TensorProto.UINT8, [1, 1, "h", "w"])
        graph = helper.make_graph(self.nodes, "YuNet", [pixels], outputs, self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.checker.check_model(model, full_check=True)
        return model

    def network(self) -> list[onnx.ValueInfoProto]:
        """Boxes, middles and scores at every 8th, 16th and 32nd pixel."""
        x = self.first(self.add("Cast", "pixels", to=TensorProto.FLOAT))
        x = self.unit(x, "backbone__model0_dp", 16, 16)
        stages = []
        for stage in range(1, 6):
            if stage != 2:  # the second keeps the size of the first
                x = self.add("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
            before, after = CHANNELS[stage : stage + 2]
            x = self.unit(x, f"backbone__model{stage}_dp1", before, before)
            x = self.unit(x, f"backbone__model{stage}_dp2", before, after)
            stages.append(x)
        heads = {}
        x = ""
        for level in (2, 1, 0):
            own = stages[level + 2]
            x = self.add("Add", own, self.twice(x)) if x else own
            x = self.unit(x, f"neck__lateral_convs__{level}", 64, 64)
            heads[level] = list(self.heads(x, level))
        return heads[0] + heads[1] + heads[2]

    def heads(self, x: str, level: int) -> Iterator[onnx.ValueInfoProto]:
        """Boxes float32 [1, 4, h, w], middles [1, 2, h, w], and scores [1, 1, h, w], 0 to 1."""
        cls, obj, boxes, points = (
            self.unit(x, f"bbox_head__multi_level_{part}__{level}", 64, channels, relu=False)
            for part, channels in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10))
        )
        mean = np.tile(np.eye(2, dtype=np.float32), 5)[..., None, None] / 5
        middles = self.convolution(points, mean, np.zeros(2, np.float32))
        scores = self.add("Mul", self.add("Sigmoid", cls), self.add("Sigmoid", obj))
        place = [f"h{8 << level}", f"w{8 << level}"]
        outputs = {"boxes": (boxes, 4), "middles": (middles, 2), "scores": (scores, 1)}
        for name, (value, channels) in outputs.items():
            operator = "Sqrt" if name == "scores" else "Identity"
            output = f"{name}{8 << level}"
            self.nodes.append(helper.make_node(operator, [value], [output]))
            yield helper.make_tensor_value_info(output, TensorProto.FLOAT, [1, channels, *place])

    def first(self, x: str) -> str:
        """The layer of all colours, here of one, with weights in rows of 27 filled up to 32."""
        filled = self.table("backbone__model0_pw_weight", 16, 32)
        weights = filled[:, :27].reshape(16, 3, 3, 3).sum(-1)[:, None]  # colours come last
        bias = self.table("backbone__model0_pw_bias", 16)
        x = self.convolution(x, weights, bias, strides=[2, 2], pads=[1, 1, 1, 1])
        return self.add("Relu", x)

    def unit(self, x: str, name: str, before: int, after: int, relu: bool = True) -> str:
        """Channels mixed at each pixel, then each channel with its neighbours, held as [9, C]."""
        mix = self.table(f"{name}_pw_weight", after, before, 1, 1)
        x = self.convolution(x, mix, self.table(f"{name}_pw_bias", after))
        spread = self.table(f"{name}_dw_weight", 3, 3, after).transpose(2, 0, 1)[:, None]
        bias = self.table(f"{name}_dw_bias", after)
        x = self.convolution(x, spread, bias, pads=[1, 1, 1, 1], group=after)
        return self.add("Relu", x) if relu else x

    def twice(self, x: str) -> str:
        """Each pixel four times."""
        scales = self.constant(np.array([1, 1, 2, 2], np.float32))
        how = {"nearest_mode": "floor", "coordinate_transformation_mode": "asymmetric"}
        return self.add("Resize", x, "", scales, mode="nearest", **how)

    def convolution(self, x: str, weights: np.ndarray, bias: np.ndarray, **settings) -> str:
        """With weights as ONNX has them, [out, in, 3, 3] or [out, in, 1, 1]."""
        return self.add("Conv", x, self.constant(weights), self.constant(bias), **settings)

    def add(self, operator: str, *inputs: str, **settings) -> str:
        """The name of a new node's output."""
        name = f"x{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [name], **settings))
        return name

    def constant(self, values: np.ndarray) -> str:
        """The name of a new array."""
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def table(self, name: str, *shape: int) -> np.ndarray:
        """An array of the library, float32."""
        values = (ctypes.c_float * math.prod(shape)).in_dll(self.library, name)
        return np.array(values, np.float32).reshape(shape)


if __name__ == "__main__":
    exit_on_error(main)
