import pytest
import torch

from fer.data.formats.pixels import CLASSES
from fer.errors import FerError
from fer.params import Model
from fer.training import checkpoint
from fer.training.networks import build

MODEL = Model(name="mini-xception", width=0.5)


def save(path, network, **about):
    given = {"classes": CLASSES, "dataset": "sample", "scores": {"val_accuracy": 0.5}}
    given["history"] = []
    checkpoint.save(path, network, MODEL, **given | about)


@pytest.fixture
def network():
    torch.manual_seed(0)
    return build(MODEL, 7).eval()


def test_file_gives_the_model_back(tmp_path, network):
    path = tmp_path / "model.pt"
    save(path, network, history=[{"epoch": 1, "val_accuracy": 0.5, "seconds_data": 3.0}])
    loaded, about = checkpoint.load(path)
    inputs = torch.rand(2, 1, 44, 44)
    assert torch.equal(network(inputs), loaded(inputs))
    assert about["dataset"] == "sample"
    assert about["classes"][3] == "Happy"
    assert about["scores"] == {"val_accuracy": 0.5}
    assert about["history"] == [{"epoch": 1, "val_accuracy": 0.5}]


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("classes", ["Happy"], "its classes are .'Happy'., not a list of names"),
        ("classes", "Happy", "its classes are 'Happy', not a list of names"),
        ("classes", ["Happy", "Sad"], "its weights are not those"),
        ("input_size", 48, "its input_size is 48, not 44"),
        ("normalisation", {"mean": 0.5, "std": 0.5}, "its normalisation is"),
        ("model", {"name": "mini-xception", "width": 2.0}, "its weights are not those"),
        ("model", {"name": "mini-xception"}, "its weights are not those"),
        ("model", {"name": "unknown", "width": 1.0}, "its weights are not those"),
        ("weights", 3, "its weights are not those"),
    ],
)
def test_file_that_says_something_else_is_refused(tmp_path, network, key, value, said):
    path = tmp_path / "model.pt"
    save(path, network)
    torch.save(torch.load(path, weights_only=True) | {key: value}, path)
    with pytest.raises(FerError, match=said):
        checkpoint.load(path)


@pytest.mark.parametrize("content", [None, b"", b"text", {"net": {}}, [1], {"net": 3}])
def test_file_that_is_no_model(tmp_path, content):
    path = tmp_path / "model.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(FerError, match=r"model\.pt: "):
        checkpoint.load(path)
