"""The float32 and int8 graphs of every network in the registry."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
import torch.nn.functional as F
from layouts import PARAMS, ROOT
from onnx import numpy_helper

from fer.core.errors import FerError
from fer.core.faces import Faces
from fer.core.params import Model
from fer.data.fer2013 import CLASSES
from fer.deploy import export, quantize, runtimes
from fer.predict.recognizer import Recognizer
from fer.training import evaluation
from fer.training.networks import Network, build
from fer.training.networks.network import batch_norm
from fer.training.qat import finetune


@pytest.fixture(scope="module")
def faces():
    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(7, dtype=np.uint8), 10)
    images = generator.integers(0, 100, (70, 48, 48), dtype=np.uint8) + 20 * labels[:, None, None]
    return Faces(images, labels, CLASSES)


class WithLinear(Network):
    """A network as a user may add, with linear layers."""

    def __init__(self):
        super().__init__()
        self.stem = torch.nn.Sequential(
            torch.nn.Conv2d(1, 32, 3, 2, 1, bias=False), batch_norm(32), torch.nn.ReLU()
        )
        self.gate = torch.nn.Sequential(torch.nn.Linear(32, 32), torch.nn.Sigmoid())
        self.mlp = torch.nn.Sequential(
            torch.nn.Linear(32, 256), torch.nn.GELU(), torch.nn.Linear(256, 32, bias=False)
        )
        self.head = torch.nn.Conv2d(32, 7, 3)

    def maps(self, x):
        x = self.stem(x)
        x = x * self.gate(x.mean((2, 3)))[:, :, None, None]
        return self.head(x + self.mlp(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2))


def trained(name, width, faces):
    """A network that has learned a little, so that its answers differ from face to face."""
    torch.manual_seed(0)
    network = WithLinear() if name == "linear" else build(Model(name=name, width=width), 7)
    network.train()
    optimizer = torch.optim.Adam(network.parameters(), 0.01)
    images = torch.tensor(faces.images)[:, None, 2:46, 2:46] / 255
    for _ in range(12):
        loss = F.cross_entropy(network(images), torch.tensor(faces.labels).long())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network.eval()


@pytest.fixture(scope="module", params=["compact", "linear"])
def network(request, faces):
    return trained(request.param, 1.0, faces)


@pytest.fixture(scope="module")
def float32(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("export") / "fer.onnx"
    export.export(path, network)
    return path


def quantized(source, faces, method="minmax", **options):
    target = source.with_name("fer.int8.onnx")
    quantize.quantize(source, target, faces.images, method, **options)
    return target


def classify(path, images):
    session = ort.InferenceSession(path)
    return session.run(["probabilities"], {"faces": images})[0]


def test_float32_gives_what_pytorch_gives(network, float32, faces):
    for count in (1, 5, 70):
        images = faces.images[:count]
        expected = evaluation.predict_probabilities(network, images)
        np.testing.assert_allclose(classify(float32, images), expected, atol=1e-5)
    (maps,) = ort.InferenceSession(float32).run(["maps"], {"faces": faces.images})
    logits = evaluation.predict_logits(network, torch.tensor(faces.images)).numpy()
    np.testing.assert_allclose(maps.mean((2, 3)), logits, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "width"),  # 0.01: one channel, to which the face is added
    [("compact", 0.01), ("mini-xception", 1.0)],
)
def test_narrow_and_other_networks_are_exported_too(name, width, faces, tmp_path):
    network = trained(name, width, faces)
    export.export(tmp_path / "fer.onnx", network)
    actual = classify(tmp_path / "fer.onnx", faces.images)
    expected = evaluation.predict_probabilities(network, faces.images)
    np.testing.assert_allclose(actual, expected, atol=1e-5)
    int8 = quantized(tmp_path / "fer.onnx", faces)
    quantize.check_portable(int8)
    assert np.abs(classify(int8, faces.images) - actual).mean() < 0.05


def test_same_network_same_bytes_and_no_folder_of_ours(network, float32, tmp_path):
    export.export(tmp_path / "again.onnx", network)
    content = (tmp_path / "again.onnx").read_bytes()
    assert content == float32.read_bytes()
    assert str(ROOT).encode() not in content
    assert b"site-packages" not in content


@pytest.mark.parametrize("method", ["minmax", "percentile"])
def test_int8_is_close_and_small(network, float32, faces, method):
    path = quantized(float32, faces, method)
    expected = evaluation.predict_probabilities(network, faces.images)
    assert expected.max(1).mean() > 0.3  # far from 1/7 each
    # Measured: up to 0.0014. A layer with zero weights gives 0.004 (Mini-Xception) to 0.28.
    assert np.abs(classify(path, faces.images) - expected).mean() < 0.01
    assert [entry.domain for entry in onnx.load(path).opset_import] == [""]  # no other operators
    assert path.stat().st_size < float32.stat().st_size / 2


def operators_of_quick_input(float32, seen, images, monkeypatch):
    """Quantize with and without the quick input, which change no answer; return its operators."""
    path = quantized(float32, seen)
    operators = {node.op_type for node in onnx.load(path).graph.node}
    actual = classify(path, images)
    monkeypatch.setattr(quantize, "_pad_input_channels", lambda graph: None)
    assert (classify(quantized(float32, seen), images) == actual).all()
    return operators


@pytest.mark.parametrize(("brightest", "left_out"), [(255, {"Cast", "Div"}), (200, set())])
def test_quick_input_changes_no_answer(float32, faces, monkeypatch, brightest, left_out):
    """Where the faces have white in them, each grey value is its own int8 value."""
    images = np.minimum(faces.images, brightest)
    images[:, 20:24, 20:24] = brightest
    seen = Faces(images, faces.labels, CLASSES)
    every_grey = np.random.default_rng(1).integers(0, 256, (20, 48, 48), dtype=np.uint8)
    operators = operators_of_quick_input(float32, seen, every_grey, monkeypatch)
    assert {"Cast", "Div"} - operators == left_out


class Other(Network):
    def __init__(self, use):
        super().__init__()
        self.conv, self.last = torch.nn.Conv2d(1, 1, 3, padding=1), torch.nn.Conv2d(1, 7, 1)
        self.use = use

    def maps(self, x):
        return self.last(self.use(self.conv, x))


@pytest.mark.parametrize(
    ("use", "padded"),
    [
        (lambda conv, x: conv(x) / 255, True),
        (lambda conv, x: conv(F.avg_pool2d(x, 2)), False),
        (lambda conv, x: conv(conv(x).relu()), False),
        (lambda conv, x: conv(x) + x, False),
    ],
)
def test_quick_input_leaves_other_networks_right(use, padded, faces, tmp_path, monkeypatch):
    torch.manual_seed(0)
    white = Faces(faces.images | (faces.images > 200) * np.uint8(255), faces.labels, CLASSES)
    export.export(tmp_path / "fer.onnx", Other(use).eval())
    path = tmp_path / "fer.onnx"
    operators = operators_of_quick_input(path, white, white.images, monkeypatch)
    assert ("Expand" in operators) == padded


class Attention(WithLinear):
    def maps(self, x):
        x = self.stem(x).flatten(2)
        return self.head((x @ x.mT @ x).unflatten(2, (22, 22)))


def test_int8_sums_that_could_overflow_are_refused(faces, tmp_path):
    """Of weights above 64, and of products of activations."""
    for network, options, message in (
        (
            WithLinear(),
            {"reduce_range": False},
            r"fer\.int8\.onnx: the sums of layer \d+ can leave",
        ),
        (Attention(), {}, r"layer \d \(MatMul\) has no constant int8 weights"),
    ):
        export.export(tmp_path / "fer.onnx", network.eval())
        path = quantized(tmp_path / "fer.onnx", faces, **options)
        with pytest.raises(FerError, match=message):
            quantize.check_portable(path)


def test_committed_int8_models_are_portable():
    paths = [*ROOT.glob("models/*/*/fer.int8.onnx"), *ROOT.glob("fer/weights/*.int8.onnx")]
    assert len(paths) > 4
    for path in paths:
        quantize.check_portable(path)


def test_int8_holds_the_weights_of_a_finetuned_network(network, faces, tmp_path):
    options = PARAMS.train
    finetuned = finetune(network, faces, options.model_copy(update={"qat_epochs": 1}))
    export.export(tmp_path / "fer.onnx", finetuned)
    graph = onnx.load(quantized(tmp_path / "fer.onnx", faces)).graph
    stored = [np.abs(numpy_helper.to_array(c).astype(int)) for c in graph.initializer]
    for module in finetuned.modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
            weight = module.weight.detach().abs()
            channels = weight.flatten(1).amax(1).reshape(-1, *[1] * (weight.ndim - 1))
            steps = (weight / channels * 64).numpy()
            # Signs do not count, as BatchNorm may turn those of a channel; nor channels of zeros.
            held = [array[:, : steps.shape[1]] for array in stored if array.ndim == 4]
            held += [array.T for array in stored if array.ndim == 2] + stored
            held = [array for array in held if array.shape == steps.shape]
            assert any(np.allclose(array, steps, atol=1e-3, rtol=0) for array in held)


def test_file_has_its_metadata_and_predicts_as_the_recognizer(float32, faces):
    export.write_metadata(float32, {"dataset": "noise", "scores": {"val_accuracy": 0.5}}, CLASSES)
    onnx.checker.check_model(str(float32), full_check=True)
    metadata = runtimes.read_metadata(float32)
    assert metadata["classes"] == list(CLASSES)
    assert metadata["scores"] == {"val_accuracy": 0.5}
    assert "fer-pipeline" in metadata["producer"]
    views = runtimes.predict_views(runtimes.onnx_predictor(float32, 1), faces.images)
    for name, flip in (("single_view", False), ("flip_averaged", True)):
        expected = Recognizer(float32, flip=flip).classify(faces.images)
        np.testing.assert_allclose(views[name], expected, atol=1e-6)


def test_exported_file_that_differs_is_refused():
    equal = np.full((5, 7), 1 / 7, np.float32)
    names = ("PyTorch, float32", "ONNX Runtime, float32", "ONNX Runtime, int8")
    probabilities = dict.fromkeys(names, equal)
    assert set(quantize.check_differences(probabilities).values()) == {0.0}
    for name, difference in (("PyTorch, float32", 0.001), ("ONNX Runtime, int8", 0.1)):
        with pytest.raises(FerError, match="differs by"):
            quantize.check_differences(probabilities | {name: equal + difference})


def test_warning_of_int8_only_above_the_limit():
    warning = quantize.accuracy_drop_warning(0.66, 0.63, limit=0.01)
    assert warning == "int8 loses 3.00% of val accuracy, more than quantize.max_accuracy_drop 1.00%"
    assert quantize.accuracy_drop_warning(0.66, 0.65, limit=0.01) is None


@pytest.mark.parametrize(
    ("seconds", "rounds", "is_steady"),
    [
        ([1.0, 1.1], 2, True),
        ([1.0, 1.5, 1.0, 1.1], 4, True),  # more rounds, which are steady
        ([1.0, 1.5, 1.0, 1.5], 4, False),
    ],
)
def test_timing_of_a_busy_machine_is_repeated_and_marked(monkeypatch, seconds, rounds, is_steady):
    batches = 2 * seconds  # for 1 thread, and for all
    calls = []

    def seconds_per_call(predictor, faces):
        if len(faces) > 1:
            calls.append(batches[len(calls)])
            return [calls[-1]]
        return [0.1]

    monkeypatch.setattr(runtimes, "_seconds_per_call", seconds_per_call)
    (row,) = runtimes.compare({"a": lambda threads: None}, np.zeros((2, 48, 48), np.uint8), 2)
    assert len(calls) == 2 * rounds
    assert row["is_steady"] == is_steady
    assert row["faces_per_second_1_thread"] == 128
