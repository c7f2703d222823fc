import pytest
import torch

from fer.core.errors import FerError
from fer.core.params import Model
from fer.training import model_file
from fer.training.networks import build

MODEL = Model(name="mini-xception", width=0.5)
CLASSES = ("Angry", "Disgust", "Fear", "Happy", "Sad", "Surprise", "Neutral")


def save(path, network, **changes):
    metadata = {"classes": CLASSES, "dataset": "sample", "scores": {"val_accuracy": 0.5}}
    metadata["history"] = []
    model_file.save(path, network, MODEL, **metadata | changes)


@pytest.fixture
def network():
    torch.manual_seed(0)
    return build(MODEL, 7).eval()


def test_load_returns_what_was_saved(tmp_path, network):
    path = tmp_path / "model.pt"
    save(path, network, history=[{"epoch": 1, "val_accuracy": 0.5, "seconds_data": 3.0}])
    loaded, metadata = model_file.load(path)
    inputs = torch.rand(2, 1, 44, 44)
    assert torch.equal(network(inputs), loaded(inputs))
    assert metadata["dataset"] == "sample"
    assert metadata["classes"][3] == "Happy"
    assert metadata["scores"] == {"val_accuracy": 0.5}
    assert metadata["history"] == [{"epoch": 1, "val_accuracy": 0.5}]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("classes", ["Happy", "Sad"], "its weights do not fit the network"),
        ("input_size", 48, "its input_size is 48, not 44"),
        ("normalisation", {"mean": 0.5, "std": 0.5}, "its normalisation is"),
        ("model", {"name": "mini-xception", "width": 2.0}, "its weights do not fit the network"),
        ("model", {"name": "mini-xception"}, "its weights do not fit the network"),
        ("model", {"name": "unknown", "width": 1.0}, "its weights do not fit the network"),
        ("weights", 3, "its weights do not fit the network"),
    ],
)
def test_file_with_other_metadata_is_refused(tmp_path, network, key, value, message):
    path = tmp_path / "model.pt"
    save(path, network)
    torch.save(torch.load(path, weights_only=True) | {key: value}, path)
    with pytest.raises(FerError, match=message):
        model_file.load(path)


@pytest.mark.parametrize("content", [None, b"text", {"net": {}}, [1]])
def test_file_without_a_model_is_refused(tmp_path, content):
    path = tmp_path / "model.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(FerError, match=r"model\.pt: "):
        model_file.load(path)
