"""Every network of the registry, and what each promises on its own."""

import pytest
import torch

from fer.errors import FerError
from fer.params import Model
from fer.training.networks import NETWORKS, build, parameter_count
from fer.training.networks.compact import Compact
from fer.training.networks.mini_xception import MiniXception, from_base_project


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("width", [0.1, 1.0, 2.0])
@pytest.mark.parametrize("size", [24, 44])
def test_maps_of_any_width_and_size_of_faces(name, width, size):
    network = build(Model(name=name, width=width)).eval()
    faces = torch.rand(3, 1, size, size)
    maps = network.maps(faces)
    assert maps.shape[:2] == (3, 7)
    assert network(faces).shape == (3, 7)
    torch.testing.assert_close(network(faces), maps.mean((2, 3)))


@pytest.mark.parametrize("name", NETWORKS)
def test_trains_on_a_last_batch_of_one_small_face(name):
    network = build(Model(name=name, width=1.0)).train()
    network(torch.rand(1, 1, 24, 24)).sum().backward()
    assert all(p.grad is not None for p in network.parameters())


@pytest.mark.parametrize("name", sorted(set(NETWORKS) - {"deep"}))  # the teacher, not shipped
def test_is_small(name):
    assert parameter_count(build(Model(name=name, width=1.0))) <= 57_000


def test_unknown_name_is_a_clear_error():
    with pytest.raises(
        FerError, match=r"model\.name is 'vgg': no such network; there are compact, deep, mini-x"
    ):
        build(Model(name="vgg", width=1.0))


def test_compact_has_the_parameters_that_it_says():
    assert parameter_count(Compact()) == 53_311


def test_mini_xception_is_the_published_one():
    assert parameter_count(MiniXception()) == 56_951


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


def test_loads_a_checkpoint_of_the_base_project():
    network = MiniXception().eval()
    state = dict(base_names(network.state_dict()))
    assert "module1.sepConv1.depthwise.weight" in state
    assert "last_conv.bias" in state
    inputs = torch.rand(2, 1, 44, 44)
    assert torch.equal(from_base_project(state)(inputs), network(inputs))
