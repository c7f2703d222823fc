"""Export a network as an ONNX graph from grey faces to probabilities, for a stage and `convert`."""

import json
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path

import onnx
import torch
from onnx import helper
from torch import nn

from fer.core import __version__
from fer.core.faces import FACE_SIZE
from fer.core.files import atomic_path
from fer.training.augmentation import center_crop
from fer.training.networks import Network

_BOTH_VIEWS = onnx.parser.parse_graph("""
    both_views (uint8[N,48,48] faces) => (float[N,C] probabilities, float[N,C,h,w] maps)
    <int64[1] last = {-1}, int64[1] backwards = {-1}, int64[1] start = {-9223372036854775807}> {
        mirrored = Slice(faces, last, start, last, backwards)
        views = Concat<axis = 0>(faces, mirrored)
        first, second = Split<axis = 0, num_outputs = 2>(both_probabilities)
        probabilities = Mean(first, second)
        first_maps, mirrored_maps = Split<axis = 0, num_outputs = 2>(both_maps)
        second_maps = Slice(mirrored_maps, last, start, last, backwards)
        maps = Mean(first_maps, second_maps)
    }
""")
"""Two operators before a network and five behind it, which average over each face and its mirror
image as `Recognizer` does."""


class Deployed(nn.Module):
    """A network with the preprocessing before it and the softmax behind it."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, faces: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the probabilities and class activation maps of faces, uint8 [N, 48, 48]."""
        maps = self.network.maps(center_crop(faces))
        return maps.mean((2, 3)).softmax(1), maps


def export(path: Path, network: Network) -> None:
    """Write a network as a float32 ONNX graph.

    The input `faces` is uint8 [N, 48, 48], 0 black to 255 white, for any N. The outputs are
    `probabilities`, float32 [N, C], and `maps`, float32 [N, C, h, w], the class activation maps.
    The mean of a map is the logit of its class.
    """
    faces = torch.zeros(2, FACE_SIZE, FACE_SIZE, dtype=torch.uint8)
    with quiet():
        program = torch.onnx.export(
            Deployed(network).cpu().eval(),
            (faces,),
            input_names=["faces"],
            output_names=["probabilities", "maps"],
            dynamic_shapes=({0: torch.export.Dim("N")},),
            dynamo=True,
        )
    write_short(program.model_proto, path)


def write_metadata(path: Path, metadata: Mapping[str, object], classes: Sequence[str]) -> None:
    """Replace the metadata of an ONNX file: entries as JSON, fer's version, and the classes."""
    model = onnx.load(path)
    version = {"producer": f"fer-pipeline {__version__}"}
    entries = {**version, **metadata, "classes": list(classes)}
    helper.set_model_props(model, {key: json.dumps(value) for key, value in entries.items()})
    _save(model, path)


def average_views(path: Path) -> None:
    """Change an ONNX file of fer so that it averages over each face and its mirror image."""
    model = onnx.load(path)
    graph = model.graph
    names = {"faces": "views"} | {output.name: f"both_{output.name}" for output in graph.output}
    if any("views" in node.output for node in graph.node):  # it does so already
        return
    for node in graph.node:
        for tensors in (node.input, node.output):
            tensors[:] = [names.get(name, name) for name in tensors]
    added = list(_BOTH_VIEWS.node)
    nodes = [*added[:2], *graph.node, *added[2:]]
    del graph.node[:]
    graph.node.extend(nodes)
    graph.initializer.extend(_BOTH_VIEWS.initializer)
    _save(model, path)


def write_short(model: onnx.ModelProto, path: Path) -> None:
    """Write a graph with short names and without the exporter's notes, a fifth of its bytes.

    The notes say where each operator came from, with paths of this machine. Operator sets that the
    graph does not use are removed as well: ONNX Runtime's tools declare them, and other runtimes
    may not know them.
    """
    graph = model.graph
    model.ClearField("metadata_props")
    graph.ClearField("metadata_props")
    graph.ClearField("value_info")
    names = {value.name: value.name for value in (*graph.input, *graph.output)} | {"": ""}
    for constant in graph.initializer:
        constant.name = names.setdefault(constant.name, f"c{len(names)}")
    for node in graph.node:
        for field in ("name", "metadata_props", "doc_string"):
            node.ClearField(field)
        for tensors in (node.input, node.output):
            tensors[:] = [names.setdefault(name, f"t{len(names)}") for name in tensors]
    used = {node.domain for node in graph.node}
    operator_sets = [entry for entry in model.opset_import if entry.domain in used]
    del model.opset_import[:]
    model.opset_import.extend(operator_sets)
    _save(model, path)


def _save(model: onnx.ModelProto, path: Path) -> None:
    with atomic_path(path) as temporary:
        temporary.write_bytes(model.SerializeToString(deterministic=True))


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress what PyTorch's exporter and ONNX Runtime's tools print and log in the block."""
    logging.disable(logging.WARNING)
    try:
        with redirect_stdout(StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)
