"""Write a network as an ONNX graph: raw faces in, probabilities out."""

import json
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from importlib.metadata import version
from io import StringIO
from pathlib import Path

import onnx
import torch
from onnx import helper
from torch import nn

from fer.faces import FACE_SIZE
from fer.files import atomic_path, scratch, seal
from fer.training.augmentation import center_crop
from fer.training.networks import Network


class _Deployed(nn.Module):
    """A network with all that stands around it in use."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, faces: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        maps = self.network.maps(center_crop(faces))
        return maps.mean((2, 3)).softmax(1), maps


def export(path: Path, network: Network) -> None:
    """Write `network` as a float32 graph.

    Its input `faces` is uint8 [N, 48, 48], 0 black to 255 white, with any N. Its outputs are
    `probabilities`, float32 [N, C], and `maps`, float32 [N, C, h, w]: where in the face the
    network sees each class. The mean of a map is the logit of its class.
    """
    deployed = _Deployed(network).cpu().eval()
    faces = torch.zeros(2, FACE_SIZE, FACE_SIZE, dtype=torch.uint8)
    with scratch(path.parent) as folder, quiet():
        written = Path(folder, "fer.onnx")
        torch.onnx.export(
            deployed,
            (faces,),
            written,
            input_names=["faces"],
            output_names=["probabilities", "maps"],
            dynamic_shapes=({0: torch.export.Dim("N")},),
            external_data=False,
            dynamo=True,
            verbose=False,
        )
        tidy(written, path)


def describe(path: Path, about: Mapping[str, object], classes: Sequence[str]) -> None:
    """Write metadata into a model's ONNX file: our version, `about`, the classes, a checksum.

    Args:
        path: The file, which is written anew.
        about: Entries of the metadata; each value becomes JSON.
        classes: Names of the classes, in the order of the outputs.
    """
    graph = onnx.load(path)
    producer = f"fer-pipeline {version('fer-pipeline')}"
    # A cut that takes the checksum and an entry takes the last, and without the classes no file
    # is read.
    known = {"producer": producer, **about, "classes": list(classes)}
    helper.set_model_props(graph, {key: json.dumps(value) for key, value in known.items()})
    with atomic_path(path) as temporary:
        temporary.write_bytes(seal(graph.SerializeToString(deterministic=True)))


def tidy(source: Path, target: Path) -> None:
    """Write the graph at `source` without what does not count, a fifth of its bytes.

    That is long names of what lies between the layers, and the exporter's notes of where each
    operator came from, with our folders in them.
    """
    model = onnx.load(source)
    graph = model.graph
    model.ClearField("metadata_props")
    graph.ClearField("metadata_props")
    graph.ClearField("value_info")
    outside = {value.name for value in (*graph.input, *graph.output)}
    names: dict[str, str] = {name: name for name in ("", *outside)}
    for constant in graph.initializer:
        constant.name = names.setdefault(constant.name, f"c{len(names)}")
    for node in graph.node:
        for field in ("name", "metadata_props", "doc_string"):
            node.ClearField(field)
        for tensors in (node.input, node.output):
            tensors[:] = [names.setdefault(name, f"t{len(names)}") for name in tensors]
    with atomic_path(target) as temporary:
        onnx.save(model, temporary)


@contextmanager
def quiet() -> Iterator[None]:
    """Without the advice that PyTorch's exporter and ONNX Runtime's tools print and log."""
    logging.disable(logging.WARNING)
    try:
        with redirect_stdout(StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)
