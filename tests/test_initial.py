"""Training from weights: what is taken over, what is new, and which files are refused."""

from pathlib import Path

import pytest
import torch

from fer import params
from fer.errors import FerError
from fer.faces import Faces
from fer.training import checkpoint, initial
from fer.training.fit import checkpoint_path, fit
from fer.training.networks import NETWORKS, build

RECIPE = params.load(Path(__file__).parents[1] / "params.yaml").recipe.changed({"model.width": 0.5})
CPU = torch.device("cpu")


def save(path, recipe, classes):
    torch.manual_seed(7)
    network = build(recipe.model, len(classes))
    about = {"classes": classes, "dataset": "x", "scores": {}, "history": []}
    checkpoint.save(path, network, recipe.model, **about)
    return network.state_dict()


def starting_from(path, recipe=RECIPE):
    return recipe.changed({"train.init": str(path)})


def test_default_is_random_weights():
    assert initial.load(RECIPE, ("a", "b")) is None


@pytest.mark.parametrize("name", NETWORKS)
def test_same_classes_take_all_weights(tmp_path, capsys, name):
    recipe = RECIPE.changed({"model.name": name})
    saved = save(tmp_path / "baseline.pt", recipe, ("a", "b", "c"))
    loaded = initial.load(starting_from(tmp_path, recipe), ("a", "b", "c"))  # the folder
    assert loaded.keys() == saved.keys()
    assert all(torch.equal(loaded[key], saved[key]) for key in saved)
    said = capsys.readouterr().out
    assert said == f"training starts from {tmp_path / 'baseline.pt'}: all weights\n"


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("classes", [("a", "b"), ("a", "c", "b"), ("x", "y", "z")])
def test_other_classes_leave_the_head_out(tmp_path, capsys, name, classes):
    recipe = RECIPE.changed({"model.name": name})
    saved = save(tmp_path / "model.pt", recipe, ("a", "b", "c"))
    loaded = initial.load(starting_from(tmp_path / "model.pt", recipe), classes)
    left_out = saved.keys() - loaded.keys()
    assert len(left_out) == 2  # weight and bias of the last convolution
    assert all(saved[key].shape[0] == 3 for key in left_out)
    assert f"the head, which is new for {len(classes)} classes" in capsys.readouterr().out


def base_project(weights):
    """Tensors as the base project names them."""
    renamed = {}
    for name, tensor in weights.items():
        if name.startswith("blocks."):
            _, number, rest = name.split(".", 2)
            rest = rest.replace("shortcut", "residual_conv", 1) if "_bn" not in rest else rest
            rest = rest.replace("shortcut_bn", "residual_bn").replace("conv1.", "sepConv1.")
            name = f"module{int(number) + 1}.{rest.replace('conv2.', 'sepConv2.')}"
        renamed[name] = tensor
    return renamed


def test_published_checkpoint_is_read_for_mini_xception(tmp_path):
    recipe = RECIPE.changed({"model.name": "mini-xception", "model.width": 1.0})
    torch.manual_seed(1)
    weights = build(recipe.model, 7).state_dict()
    path = tmp_path / "private_model_233_66.t7"
    torch.save({"net": base_project(weights)}, path)
    assert "module4.residual_bn.weight" in torch.load(path)["net"]
    for classes in (tuple("abcdefg"), ("a", "b")):  # it does not name its own
        loaded = initial.load(starting_from(path, recipe), classes)
        assert all(torch.equal(loaded[key], weights[key]) for key in loaded)
        assert weights.keys() - loaded.keys() == {"last_conv.weight", "last_conv.bias"}
    with pytest.raises(FerError, match=r"does not hold the weights of compact of width 0\.5"):
        initial.load(starting_from(path), ("a", "b"))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "no model here; name a file such as models/fer2013/baseline.pt"),
        ({"net": 3}, "is not a checkpoint of the base project"),
        ({"net": {"a": 3}}, "is not a checkpoint of the base project"),
        ({"weights": {}}, "is not a model file of this version"),
        (b"an ONNX file", "is no file of weights, or damaged; name a model file such as"),
    ],
)
def test_file_without_weights_is_refused(tmp_path, content, said):
    path = tmp_path / "model.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(FerError, match=said) as error:
        initial.load(starting_from(path), ("a", "b"))
    assert "\n" not in str(error.value)


def test_weights_of_another_width_are_refused(tmp_path):
    save(tmp_path / "model.pt", RECIPE.changed({"model.width": 0.25}), ("a", "b"))
    with pytest.raises(FerError, match=r"holds compact of width 0\.25, but model is compact of wi"):
        initial.load(starting_from(tmp_path / "model.pt"), ("a", "b"))


def test_training_starts_from_the_weights(faces, tmp_path):
    """With a learning rate of next to nothing, all but BatchNorm's statistics stay."""
    recipe = RECIPE.changed({"train.lr": 1e-12, "train.sizes": [44], "train.batch_size": 16})
    saved = save(tmp_path / "model.pt", recipe, ("x", "y"))
    init = initial.load(starting_from(tmp_path / "model.pt", recipe), faces.classes)
    run = {"on_epoch": lambda history: None, "quiet": True}
    network, _ = fit(recipe, faces, faces, 1, CPU, init=init, **run)
    scratch, _ = fit(recipe, faces, faces, 1, CPU, **run)
    trained, other = network.state_dict(), scratch.state_dict()
    for name, tensor in saved.items():
        if name in init and "running" not in name and "num_batches" not in name:
            torch.testing.assert_close(trained[name], tensor)
    assert torch.equal(trained["head.bias"], other["head.bias"])  # drawn as without weights
    assert not torch.equal(trained["layers.0.conv.weight"], other["layers.0.conv.weight"])


def test_weights_are_part_of_the_fingerprint(faces, tmp_path):
    saved = save(tmp_path / "model.pt", RECIPE, faces.classes)
    changed = saved | {"head.bias": saved["head.bias"] + 1}
    of = {checkpoint_path(RECIPE, faces, faces, 1, init=init) for init in (None, saved, changed)}
    assert len(of) == 3


def test_classes_and_shares_are_part_of_the_fingerprint(faces):
    named = Faces(faces.images, faces.labels, tuple("abcdefg"))
    shares = torch.full((70, 7), 1 / 7).numpy()
    voted = Faces(faces.images, faces.labels, faces.classes, shares)
    assert len({checkpoint_path(RECIPE, own, faces, 1) for own in (faces, named, voted)}) == 3
