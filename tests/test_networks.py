"""What all networks in `NETWORKS` have in common, and the size of each."""

from typing import get_args

import pytest
import torch

from fer.core.params import Model
from fer.training.networks import NETWORKS, build, parameter_count


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("width", [0.1, 1.0, 2.0])
@pytest.mark.parametrize("size", [24, 44])
def test_logits_are_means_of_the_maps_at_any_width_and_size(name, width, size):
    network = build(Model(name=name, width=width), 7).eval()
    faces = torch.rand(3, 1, size, size)
    maps = network.maps(faces)
    assert maps.shape[:2] == (3, 7)
    assert network(faces).shape == (3, 7)
    torch.testing.assert_close(network(faces), maps.mean((2, 3)))


@pytest.mark.parametrize("name", NETWORKS)
def test_trains_on_a_last_batch_of_one_small_face(name):
    network = build(Model(name=name, width=1.0), 7).train()
    network(torch.rand(1, 1, 24, 24)).sum().backward()
    assert all(p.grad is not None for p in network.parameters())


def test_params_accept_the_name_of_every_network():
    assert set(NETWORKS) == set(get_args(Model.model_fields["name"].annotation))


@pytest.mark.parametrize(("name", "count"), [("compact", 53_311), ("mini-xception", 56_951)])
def test_networks_have_the_documented_number_of_parameters(name, count):
    assert parameter_count(build(Model(name=name, width=1.0), 7)) == count
