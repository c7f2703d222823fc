"""Write the face detector fer/predict/yunet.onnx, from the package of its first author.

    pip download --no-deps yuface==2023.5.1
    python -m scripts.yunet yuface-2023.5.1-*.whl

YuNet (Wu, Peng and Yu 2023, Machine Intelligence Research 20:656-665) comes in `yuface` as a shared
library for Linux on x86-64. The names of its tables of weights are those of PyTorch. This script
makes an ONNX graph of the library's `objectdetect_cnn` with two changes: it takes grey pictures
(the weights of the first layer are summed over colors), and returns the center of the landmarks.
It writes the licence, BSD with 3 clauses, beside the file.
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
from fer.files import append_checksum

TARGET = Path("fer/predict/yunet.onnx")
LIBRARY = "yuface/libfacedetection.so"
LICENCE = "yuface-2023.5.1.dist-info/LICENSE"
CHANNELS = (16, 16, 32, 64, 64, 64, 64)
"""Channels of the first layer and of each stage."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("wheel", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(arguments.wheel) as wheel:
        wheel.extractall(folder)
        library = ctypes.CDLL(str(Path(folder, LIBRARY)))
        TARGET.with_suffix(".LICENSE").write_bytes(wheel.read(LICENCE))
    TARGET.write_bytes(append_checksum(Graph(library).model().SerializeToString()))


class Graph:
    """An ONNX graph with the weights of the library."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self.library = library
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def model(self) -> onnx.ModelProto:
        """Return the model; its input is uint8 [1, 1, H, W] with sides that are multiples of 32."""
        outputs = self.network()
        pixels = helper.make_tensor_value_info("pixels", TensorProto.UINT8, [1, 1, "h", "w"])
        graph = helper.make_graph(self.nodes, "YuNet", [pixels], outputs, self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.checker.check_model(model, full_check=True)
        return model

    def network(self) -> list[onnx.ValueInfoProto]:
        """Add all layers; return boxes, centers of landmarks and scores at strides 8, 16 and 32."""
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
        """Yield boxes float32 [1, 4, h, w], centers [1, 2, h, w], scores [1, 1, h, w], 0 to 1."""
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
        """Add the first layer, for grey; the library pads its rows of 27 weights to 32."""
        filled = self.table("backbone__model0_pw_weight", 16, 32)
        weights = filled[:, :27].reshape(16, 3, 3, 3).sum(-1)[:, None]  # colours come last
        bias = self.table("backbone__model0_pw_bias", 16)
        x = self.convolution(x, weights, bias, strides=[2, 2], pads=[1, 1, 1, 1])
        return self.add("Relu", x)

    def unit(self, x: str, name: str, before: int, after: int, relu: bool = True) -> str:
        """Add a 1x1 and a depthwise 3x3 convolution; the library stores the latter as [9, C]."""
        mix = self.table(f"{name}_pw_weight", after, before, 1, 1)
        x = self.convolution(x, mix, self.table(f"{name}_pw_bias", after))
        spread = self.table(f"{name}_dw_weight", 3, 3, after).transpose(2, 0, 1)[:, None]
        bias = self.table(f"{name}_dw_bias", after)
        x = self.convolution(x, spread, bias, pads=[1, 1, 1, 1], group=after)
        return self.add("Relu", x) if relu else x

    def twice(self, x: str) -> str:
        """Add an upsampling by 2."""
        scales = self.constant(np.array([1, 1, 2, 2], np.float32))
        how = {"nearest_mode": "floor", "coordinate_transformation_mode": "asymmetric"}
        return self.add("Resize", x, "", scales, mode="nearest", **how)

    def convolution(self, x: str, weights: np.ndarray, bias: np.ndarray, **settings) -> str:
        """Add a convolution with weights [out, in, 3, 3] or [out, in, 1, 1]."""
        return self.add("Conv", x, self.constant(weights), self.constant(bias), **settings)

    def add(self, operator: str, *inputs: str, **settings) -> str:
        """Add a node and return the name of its output."""
        name = f"x{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [name], **settings))
        return name

    def constant(self, values: np.ndarray) -> str:
        """Add a constant and return its name."""
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def table(self, name: str, *shape: int) -> np.ndarray:
        """Return an array of the library, float32."""
        values = (ctypes.c_float * math.prod(shape)).in_dll(self.library, name)
        return np.array(values, np.float32).reshape(shape)


if __name__ == "__main__":
    exit_on_error(main)
