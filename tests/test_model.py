import pytest
import torch

from fer import model
from fer.errors import FerError
from fer.model import MiniXception


def test_is_mini_xception():
    network = MiniXception()
    assert network.parameter_count() == 56_951
    assert network(torch.rand(3, 1, 44, 44)).shape == (3, 7)
    assert MiniXception(width=2.0).parameter_count() > 3 * 56_951


def test_file_gives_the_model_back(tmp_path):
    network = MiniXception(width=0.5).eval()
    path = tmp_path / "model.pt"
    model.save(path, network, dataset="sample", scores={"val_accuracy": 0.5})
    loaded, about = model.load(path)
    inputs = torch.rand(2, 1, 44, 44)
    assert torch.equal(network(inputs), loaded(inputs))
    assert about["dataset"] == "sample"
    assert about["classes"][3] == "Happy"
    assert about["scores"] == {"val_accuracy": 0.5}


def base_names(state):
    """The names that the base project gives the weights."""
    for name, value in state.items():
        for ours, theirs in (
            ("shortcut_bn", "residual_bn"),
            ("shortcut", "residual_conv"),
            (".conv1.", ".sepConv1."),
            (".conv2.", ".sepConv2."),
        ):
            name = name.replace(ours, theirs)
        if name.startswith("blocks."):
            name = f"module{int(name[7]) + 1}{name[8:]}"
        yield name, value


def test_loads_a_checkpoint_of_the_base_project(tmp_path):
    network = MiniXception().eval()
    state = dict(base_names(network.state_dict()))
    assert "module1.sepConv1.depthwise.weight" in state
    assert "last_conv.bias" in state
    path = tmp_path / "private_model.t7"
    torch.save({"net": state}, path)
    inputs = torch.rand(2, 1, 44, 44)
    assert torch.equal(model.load_base(path)(inputs), network(inputs))


@pytest.mark.parametrize("load", [model.load, model.load_base])
@pytest.mark.parametrize("content", [None, b"", b"text", {"net": {}}, [1], {"net": 3}])
def test_file_that_is_no_model(tmp_path, load, content):
    path = tmp_path / "model.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(FerError, match=r"model\.pt: "):
        load(path)
