"""Initial weights: which are used, and which files are refused."""

from pathlib import Path

import pytest
import torch

from fer.core import params
from fer.core.errors import FerError
from fer.core.faces import Faces
from fer.training import initial, model_file
from fer.training.fit import checkpoint_path, fit
from fer.training.networks import NETWORKS, build

CONFIG = params.load(Path(__file__).parents[1] / "params.yaml").config.with_values(
    {"model.width": 0.5}
)
CPU = torch.device("cpu")


def save(path, config, classes):
    torch.manual_seed(7)
    network = build(config.model, len(classes))
    metadata = {"classes": classes, "dataset": "x", "scores": {}, "history": []}
    model_file.save(path, network, config.model, **metadata)
    return network.state_dict()


def with_init(path, config=CONFIG):
    return config.with_values({"train.init": str(path)})


def test_default_is_random_weights():
    assert initial.load(CONFIG, ("a", "b")) is None


@pytest.mark.parametrize("name", NETWORKS)
def test_same_classes_use_all_weights(tmp_path, capsys, name):
    config = CONFIG.with_values({"model.name": name})
    saved = save(tmp_path / "baseline.pt", config, ("a", "b", "c"))
    loaded = initial.load(with_init(tmp_path, config), ("a", "b", "c"))  # a folder, not a file
    assert loaded.keys() == saved.keys()
    assert all(torch.equal(loaded[key], saved[key]) for key in saved)
    output = capsys.readouterr().out
    assert output == f"training starts from {tmp_path / 'baseline.pt'}: all weights\n"


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("classes", [("a", "b"), ("a", "c", "b"), ("x", "y", "z")])
def test_other_classes_leave_the_head_out(tmp_path, capsys, name, classes):
    config = CONFIG.with_values({"model.name": name})
    saved = save(tmp_path / "model.pt", config, ("a", "b", "c"))
    loaded = initial.load(with_init(tmp_path / "model.pt", config), classes)
    left_out = saved.keys() - loaded.keys()
    assert len(left_out) == 2  # weight and bias of the last convolution
    assert all(saved[key].shape[0] == 3 for key in left_out)
    assert f"the head, which is new for {len(classes)} classes" in capsys.readouterr().out


def base_project(weights):
    """Rename the weights of Mini-Xception to the names of the base project."""
    renamed = {}
    for name, tensor in weights.items():
        if name.startswith("blocks."):
            _, number, layer = name.split(".", 2)
            layer = layer.replace("shortcut", "residual_conv", 1) if "_bn" not in layer else layer
            layer = layer.replace("shortcut_bn", "residual_bn").replace("conv1.", "sepConv1.")
            name = f"module{int(number) + 1}.{layer.replace('conv2.', 'sepConv2.')}"
        renamed[name] = tensor
    return renamed


def test_mini_xception_reads_the_checkpoint_of_the_base_project(tmp_path):
    config = CONFIG.with_values({"model.name": "mini-xception", "model.width": 1.0})
    torch.manual_seed(1)
    weights = build(config.model, 7).state_dict()
    path = tmp_path / "private_model_233_66.t7"
    torch.save({"net": base_project(weights)}, path)
    assert "module4.residual_bn.weight" in torch.load(path)["net"]
    for classes in (tuple("abcdefg"), ("a", "b")):  # the file names no classes
        loaded = initial.load(with_init(path, config), classes)
        assert all(torch.equal(loaded[key], weights[key]) for key in loaded)
        assert weights.keys() - loaded.keys() == {"last_conv.weight", "last_conv.bias"}
    with pytest.raises(FerError, match=r"does not hold the weights of compact of width 0\.5"):
        initial.load(with_init(path), ("a", "b"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no model here; name a file such as models/fer2013/baseline.pt"),
        ({"net": 3}, "is not a checkpoint of the base project"),
        ({"net": {"a": 3}}, "is not a checkpoint of the base project"),
        ({"weights": {}}, "is not a model file of this version"),
        (b"an ONNX file", "holds no weights, or is damaged; name a model file such as"),
    ],
)
def test_file_without_weights_is_refused(tmp_path, content, message):
    path = tmp_path / "model.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(FerError, match=message) as error:
        initial.load(with_init(path), ("a", "b"))
    assert "\n" not in str(error.value)


def test_weights_of_another_width_are_refused(tmp_path):
    save(tmp_path / "model.pt", CONFIG.with_values({"model.width": 0.25}), ("a", "b"))
    with pytest.raises(FerError, match=r"holds compact of width 0\.25, but model is compact of wi"):
        initial.load(with_init(tmp_path / "model.pt"), ("a", "b"))


def test_training_starts_from_the_weights(faces, tmp_path):
    """A learning rate near zero changes only the statistics of BatchNorm."""
    config = CONFIG.with_values(
        {"train.lr": 1e-12, "train.input_sizes": [44], "train.batch_size": 16}
    )
    saved = save(tmp_path / "model.pt", config, ("x", "y"))
    init = initial.load(with_init(tmp_path / "model.pt", config), faces.classes)
    options = {"on_epoch": lambda history: None, "quiet": True}
    network, _ = fit(config, faces, faces, 1, CPU, init=init, **options)
    scratch, _ = fit(config, faces, faces, 1, CPU, **options)
    trained, from_scratch = network.state_dict(), scratch.state_dict()
    for name, tensor in saved.items():
        if name in init and "running" not in name and "num_batches" not in name:
            torch.testing.assert_close(trained[name], tensor)
    # The random draws of the head are the same with and without initial weights.
    assert torch.equal(trained["head.bias"], from_scratch["head.bias"])
    assert not torch.equal(trained["layers.0.conv.weight"], from_scratch["layers.0.conv.weight"])


def test_weights_are_part_of_the_fingerprint(faces, tmp_path):
    saved = save(tmp_path / "model.pt", CONFIG, faces.classes)
    changed = saved | {"head.bias": saved["head.bias"] + 1}
    paths = {checkpoint_path(CONFIG, faces, faces, 1, init=init) for init in (None, saved, changed)}
    assert len(paths) == 3


def test_classes_and_soft_labels_are_part_of_the_fingerprint(faces):
    renamed = Faces(faces.images, faces.labels, tuple("abcdefg"))
    soft_labels = torch.full((70, 7), 1 / 7).numpy()
    voted = Faces(faces.images, faces.labels, faces.classes, soft_labels)
    paths = {checkpoint_path(CONFIG, train, faces, 1) for train in (faces, renamed, voted)}
    assert len(paths) == 3
