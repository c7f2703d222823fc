import json

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fer import evaluation, export, quantization
from fer.export import Int8
from fer.faces import CLASSES
from fer.model import MiniXception
from fer.recognition import Recognizer


def trained(width, images):
    """A network whose BatchNorms have seen faces, so that folding them can go wrong."""
    torch.manual_seed(0)
    network = MiniXception(width).train()
    for _ in range(3):
        network(torch.tensor(images)[:, None, 2:46, 2:46] / 255)
    with torch.no_grad():
        network.last_conv.weight *= 20  # probabilities that differ
    return network.eval()


@pytest.fixture(params=[0.5, 1.0, 2.0])
def network(request, faces):
    return trained(request.param, faces.images)


def expected(network, images):
    return evaluation.logits(network, torch.tensor(images)).softmax(1).numpy()


def test_float32_gives_what_pytorch_gives(network, faces, tmp_path):
    export.export(tmp_path / "fer.onnx", network, {})
    recognizer = Recognizer(tmp_path / "fer.onnx")
    for count in (1, 5, 70):
        images = faces.images[:count]
        found = recognizer.classify(images)
        assert found.shape == (count, 7)
        np.testing.assert_allclose(found, expected(network, images), atol=1e-5)
    assert recognizer.classify(faces.images[:0]).shape == (0, 7)


@pytest.mark.parametrize("method", ["minmax", "entropy", "percentile"])
def test_int8_is_close(faces, tmp_path, method):
    network = trained(1.0, faces.images)
    export.export(tmp_path / "fer.onnx", network, {})
    ranges = quantization.calibrate(tmp_path / "fer.onnx", faces.images, method)
    export.export_int8(tmp_path / "fer.int8.onnx", network, ranges, {})
    found = Recognizer(tmp_path / "fer.int8.onnx").classify(faces.images)
    right = expected(network, faces.images)
    assert right.max(1).mean() > 0.3  # far from 1/7 each
    assert np.abs(found - right).mean() < 0.02
    assert (tmp_path / "fer.int8.onnx").stat().st_size < 90_000


def test_int8_computes_all_layers_in_int8(network, faces, tmp_path):
    export.export(tmp_path / "fer.onnx", network, {})
    ranges = quantization.calibrate(tmp_path / "fer.onnx", faces.images, "minmax")
    export.export_int8(tmp_path / "fer.int8.onnx", network, ranges, {})
    found = Recognizer(tmp_path / "fer.int8.onnx").classify(faces.images)
    assert np.abs(found - expected(network, faces.images)).mean() < 0.02
    graph = onnx.load(tmp_path / "fer.int8.onnx").graph
    weights = [c for c in graph.initializer if len(c.dims) == 4]
    assert {c.data_type for c in weights} == {onnx.TensorProto.INT8}
    assert not {node.op_type for node in graph.node} & {"Conv", "Add", "MaxPool", "Cast"}


def test_file_says_what_it_is(faces, tmp_path):
    network = trained(0.5, faces.images)
    about = {"dataset": "noise", "scores": {"val_accuracy": 0.5}}
    export.export(tmp_path / "fer.onnx", network, about)
    onnx.checker.check_model(str(tmp_path / "fer.onnx"), full_check=True)
    session = ort.InferenceSession(tmp_path / "fer.onnx")
    found = session.get_modelmeta().custom_metadata_map
    assert json.loads(found["classes"]) == list(CLASSES)
    assert json.loads(found["scores"]) == {"val_accuracy": 0.5}
    assert json.loads(found["dataset"]) == "noise"
    assert "fer-pipeline" in found["producer"]


def test_maps_are_the_last_layer(faces, tmp_path):
    network = trained(1.0, faces.images)
    export.export(tmp_path / "fer.onnx", network, {})
    session = ort.InferenceSession(tmp_path / "fer.onnx")
    (maps,) = session.run(["maps"], {"faces": faces.images})
    logits = evaluation.logits(network, torch.tensor(faces.images)).numpy()
    np.testing.assert_allclose(maps.mean((2, 3)), logits, atol=1e-4)


@settings(max_examples=30, deadline=None)
@given(
    st.integers(1, 3),
    st.integers(1, 5),
    st.sampled_from([2, 4, 6]),
    st.sampled_from([0, 1]),
    st.integers(0, 99),
)
def test_several_columns_at_once_are_the_same_convolution(inputs, outputs, columns, padding, seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(2, inputs, 14 - 2 * padding, 14 - 2 * padding, generator=generator)
    weight = torch.rand(outputs, inputs, 3, 3, generator=generator)
    plain = torch.nn.functional.conv2d(x, weight, padding=padding)
    pair = 1 if padding else 2
    wide = torch.tensor(export._widen(weight.numpy(), columns, pair))
    pairs = x.permute(0, 2, 3, 1).reshape(2, x.shape[2], -1, inputs * pair).permute(0, 3, 1, 2)
    found = torch.nn.functional.conv2d(
        pairs, wide, stride=(1, columns // pair), padding=padding
    ).permute(0, 2, 3, 1)
    found = found.reshape(2, 12, 12, outputs).permute(0, 3, 1, 2)
    torch.testing.assert_close(found, plain)


def test_range_always_holds_zero():
    graph = Int8({"a": (0.5, 2.0), "b": (-3.0, -1.0), "c": (-1.0, 1.0)})
    assert graph._scale_and_zero("a") == (np.float32(2 / 255), 0)
    assert graph._scale_and_zero("b")[1] == 255
    assert graph._scale_and_zero("c", relu=True) == (np.float32(1 / 255), 0)


def test_published_quantization_changes_nothing(network, faces):
    quantized, changed = quantization.quantize_published(network)
    assert changed == 0
    images = torch.tensor(faces.images)
    assert torch.equal(evaluation.logits(quantized, images), evaluation.logits(network, images))
