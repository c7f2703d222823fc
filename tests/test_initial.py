"""Initial weights: which are used, and which files are refused."""

from pathlib import Path

import pytest
import torch

from fer.core import params
from fer.core.errors import FerError
from fer.core.faces import Faces
from fer.training import initial, model_file
from fer.training.fit import fit
from fer.training.networks import NETWORKS, build
from fer.training.run import TrainingRun

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


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no model here; name a model file such as models/fer2013/baseline.pt"),
        ({"weights": {}}, "is not a model file of this version"),
        (b"an ONNX file", "or damaged; name a model file such as"),
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
    trained, from_scratch = (
        fit(TrainingRun(config, faces, faces, 1, CPU, init=weights), quiet=True)[0].state_dict()
        for weights in (init, None)
    )
    for name, tensor in saved.items():
        if name in init and "running" not in name and "num_batches" not in name:
            torch.testing.assert_close(trained[name], tensor)
    # The random draws of the head are the same with and without initial weights.
    assert torch.equal(trained["head.bias"], from_scratch["head.bias"])
    assert not torch.equal(trained["layers.0.conv.weight"], from_scratch["layers.0.conv.weight"])


def test_key_depends_on_weights_classes_and_soft_labels(faces, tmp_path):
    saved = save(tmp_path / "model.pt", CONFIG, faces.classes)
    changed = saved | {"head.bias": saved["head.bias"] + 1}
    renamed = Faces(faces.images, faces.labels, tuple("abcdefg"))
    soft_labels = torch.full((70, 7), 1 / 7).numpy()
    voted = Faces(faces.images, faces.labels, faces.classes, soft_labels)
    inits = [(faces, init) for init in (None, saved, changed)]
    keys = {
        TrainingRun(CONFIG, train, faces, 1, CPU, init=init).key
        for train, init in [*inits, (renamed, None), (voted, None)]
    }
    assert len(keys) == 5
