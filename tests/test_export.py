import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps
from onnx import numpy_helper

from fer import evaluation, export, quantization
from fer.augment import center_crop
from fer.errors import FerError
from fer.faces import CLASSES
from fer.model import MiniXception
from fer.recognition import Recognizer

ROOT = Path(__file__).parents[1]


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


def write_int8(folder, network, images, method="minmax"):
    """fer.int8.onnx in `folder`, without fine-tuning."""
    export.export(folder / "fer.onnx", network, {})
    ranges = quantization.calibrate(folder / "fer.onnx", images, method)
    export.export_int8(folder / "fer.int8.onnx", export.fold(network), ranges, {})
    return folder / "fer.int8.onnx"


@pytest.mark.parametrize("method", ["minmax", "entropy", "percentile"])
def test_int8_is_close(faces, tmp_path, method):
    network = trained(1.0, faces.images)
    path = write_int8(tmp_path, network, faces.images, method)
    found, right = Recognizer(path).classify(faces.images), expected(network, faces.images)
    assert right.max(1).mean() > 0.3  # far from 1/7 each
    # A step of 1/128 of the largest weight and of 1/255 of the largest activation in each of 18
    # layers gives 0.008 on average. With one layer wrong, it is 0.05 and more.
    assert np.abs(found - right).mean() < 0.02
    assert path.stat().st_size < 90_000


def test_int8_computes_all_layers_in_int8(network, faces, tmp_path):
    graph = onnx.load(write_int8(tmp_path, network, faces.images)).graph
    weights = [c for c in graph.initializer if len(c.dims) == 4]
    assert {c.data_type for c in weights} == {onnx.TensorProto.INT8}
    assert not {node.op_type for node in graph.node} & {"Conv", "Add", "MaxPool", "Cast"}


def convolutions(path, images):
    """Of each QLinearConv of the int8 graph: its operands, attributes, and what this machine gives.

    The input and output are those that ONNX Runtime has between its layers.
    """
    model = onnx.load(path)
    constants = {c.name: numpy_helper.to_array(c) for c in model.graph.initializer}
    nodes = [node for node in model.graph.node if node.op_type == "QLinearConv"]
    names = {name for node in nodes for name in (node.input[0], node.output[0])}
    tensor = onnx.helper.make_tensor_value_info
    model.graph.output.extend(tensor(n, onnx.TensorProto.UINT8, None) for n in sorted(names))
    session = ort.InferenceSession(model.SerializeToString())
    found = dict(zip(sorted(names), session.run(sorted(names), {"faces": images}), strict=True))
    for node in nodes:
        operands = [found.get(name, constants.get(name)) for name in node.input]
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        yield operands, attributes, found[node.output[0]]


def exact(operands, attributes):
    """What a QLinearConv must give, in integers that nothing can overflow, before rounding."""
    x, x_scale, x_zero, w, w_scale, _, y_scale, y_zero, bias = operands
    images = torch.tensor(x.astype(np.float64) - x_zero).permute(0, 3, 1, 2)  # 53 bits: exact
    sums = torch.nn.functional.conv2d(
        images,
        torch.tensor(w, dtype=torch.float64),
        torch.tensor(bias, dtype=torch.float64),
        attributes["strides"],
        attributes["pads"][:2],
        groups=attributes["group"],
    ).permute(0, 2, 3, 1)
    return np.clip(sums.numpy() * (x_scale * w_scale / y_scale) + y_zero, 0, 255)


def test_int8_is_exact_on_this_processor(network, faces, tmp_path):
    """Layer by layer, for the faces that drive the sums furthest too."""
    path = write_int8(tmp_path, network, faces.images)
    white, stripes = np.full((1, 48, 48), 255, np.uint8), np.zeros((2, 48, 48), np.uint8)
    stripes[0, :, ::2] = stripes[1, ::2] = 255
    images = np.concatenate([faces.images[:8], white, stripes])
    seen = 0
    for operands, attributes, found in convolutions(path, images):
        # A rounding away at most: with one sum of 16 bits that overflowed, it is dozens.
        assert np.abs(exact(operands, attributes) - found).max() < 0.51
        seen += 1
    assert seen > 15


@settings(max_examples=200, deadline=None)
@given(
    nps.arrays(
        np.float32,
        st.tuples(st.integers(1, 4), st.integers(1, 3), st.just(3), st.just(3)),
        elements=st.floats(-1, 1, width=32) | st.sampled_from([-1.0, -0.5, 0.5, 1.0]),
    )
)
def test_no_two_products_leave_16_bits(weight):
    scales = export.weight_scales(weight)[:, None, None, None]
    integers = export._checked("layer", np.rint(weight / scales)).astype(int)
    for channel in integers.reshape(len(integers), -1):
        a, b = np.meshgrid(channel, channel)
        pairs = 255 * np.stack([a.clip(min=0) + b.clip(min=0), a.clip(max=0) + b.clip(max=0)])
        pairs = pairs[:, ~np.eye(len(channel), dtype=bool)]
        assert -(2**15) <= pairs.min() <= pairs.max() < 2**15
    # As fine as that allows: within a step, the two largest or the largest are at their bounds.
    if np.abs(weight).max() > 1e-3:
        assert export._two_largest(integers).max() >= 125


def test_weights_that_could_overflow_are_refused():
    weight = np.zeros((2, 1, 3, 3))
    weight[1, 0, 0, :2] = 65, 64
    with pytest.raises(FerError, match=r"conv1: in 16 bits, .* can overflow"):
        export._checked("conv1", weight)
    weight[1, 0, 0, :2] = 127, -127  # which can only lessen each other
    assert export._checked("conv1", weight).dtype == np.int8


def test_shipped_int8_models_cannot_overflow():
    for path in (ROOT / "models").glob("*/fer.int8.onnx"):
        for constant in onnx.load(path).graph.initializer:
            if len(constant.dims) == 4:
                export._checked(constant.name, numpy_helper.to_array(constant).astype(int))


def test_finetuning_learns_the_labels_with_the_roundings(faces, tmp_path):
    network = trained(0.5, faces.images)
    export.export(tmp_path / "fer.onnx", network, {})
    ranges = quantization.calibrate(tmp_path / "fer.onnx", faces.images, "minmax")
    folded = export.fold(network)
    inputs, labels = center_crop(torch.tensor(faces.images)), torch.tensor(faces.labels).long()

    def loss(net, ranges):
        with torch.no_grad():
            logits = export.walk(quantization.Rounded(ranges).of(inputs), net)
        return torch.nn.functional.cross_entropy(logits, labels)

    tuned, learned = quantization.finetune(folded, ranges, faces, epochs=20, seed=0)
    assert loss(tuned, learned) < loss(folded, ranges)
    assert torch.equal(export.fold(network).conv1.weight, folded.conv1.weight)  # untouched


def test_finetuning_of_no_epochs_changes_nothing(network, faces):
    folded = export.fold(network)
    ranges = {"conv1": (-1.0, 2.0), "conv2": (0.5, 3.0)}
    tuned, learned = quantization.finetune(folded, ranges, faces, epochs=0, seed=0)
    assert learned == {"conv1": (-1.0, 2.0), "conv2": (0.0, 3.0)}
    for name, weight in folded.state_dict().items():
        assert torch.equal(tuned.state_dict()[name], weight)


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
    assert export.scale_and_zero((0.5, 2.0)) == (np.float32(2 / 255), 0)
    assert export.scale_and_zero((-3.0, -1.0))[1] == 255
    assert export.scale_and_zero((-1.0, 1.0), relu=True) == (np.float32(1 / 255), 0)


def test_published_quantization_changes_nothing(network, faces):
    quantized, changed = quantization.quantize_published(network)
    assert changed == 0
    images = torch.tensor(faces.images)
    assert torch.equal(evaluation.logits(quantized, images), evaluation.logits(network, images))
