import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from layouts import PARAMS
from test_fit import DEVICES

from fer.core.faces import Faces
from fer.core.params import Model
from fer.training import evaluation
from fer.training.networks import build
from fer.training.qat import finetune

CONFIG = PARAMS.config


def options(epochs, seed=0):
    changes = {"qat_epochs": epochs, "seed": seed, "deterministic": True}
    return CONFIG.train.model_copy(update=changes)


def make_network(faces):
    """Return an untrained network with BatchNorm statistics of the faces."""
    torch.manual_seed(0)
    network = build(Model(name="compact", width=0.5), 7).train()
    network(torch.tensor(faces.images)[:, None, 2:46, 2:46] / 255)
    return network.eval()


def predict_logits(network, faces):
    return evaluation.predict_logits(network, torch.tensor(faces.images))


def loss(network, faces):
    return F.cross_entropy(predict_logits(network, faces), torch.tensor(faces.labels).long())


def distance(network, reference, faces):
    """Return the mean absolute difference of the probabilities."""
    probabilities, expected = (predict_logits(n, faces).softmax(1) for n in (network, reference))
    return (probabilities - expected).abs().mean()


def weights_in_steps(network):
    """Return the weights of each convolution in int8 steps."""
    weights = [m.weight.detach() for m in network.modules() if isinstance(m, torch.nn.Conv2d)]
    return [weight / weight.abs().amax((1, 2, 3), keepdim=True) * 64 for weight in weights]


def test_finetuning_learns_the_labels_with_weights_of_whole_int8_steps(faces):
    network = make_network(faces)
    before = copy.deepcopy(network.state_dict())
    finetuned = finetune(network, faces, options(10))
    assert loss(finetuned, faces) < loss(network, faces)
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    buffers = zip(network.buffers(), finetuned.buffers(), strict=True)  # statistics of BatchNorm
    assert all(torch.equal(buffer, finetuned_buffer) for buffer, finetuned_buffer in buffers)
    weights, initial = weights_in_steps(finetuned), weights_in_steps(network)
    for weight in weights:
        torch.testing.assert_close(weight, weight.round(), atol=1e-3, rtol=0)
    # Some weights must move by a step: without the straight-through gradient none would.
    pairs = zip(weights, initial, strict=True)
    assert any((weight - before.round()).abs().max() > 0.5 for weight, before in pairs)


@pytest.mark.parametrize("device", DEVICES)
def test_same_seed_gives_the_same_network_in_either_mode(faces, device):
    network = make_network(faces).to(device)
    first = finetune(network, faces, options(1))
    again = finetune(network.train(), faces, options(1))
    other = finetune(network, faces, options(1, seed=1))
    none = finetune(network, faces, options(0))
    assert loss(first, faces) == loss(again, faces) != loss(other, faces)
    assert loss(none, faces) == loss(network, faces)
    assert torch.are_deterministic_algorithms_enabled()


def test_finetuning_stays_close_to_the_predictions_of_the_network(faces):
    network, wrong_faces = make_network(faces), copy.deepcopy(faces)
    wrong_faces.labels[:] = 0
    finetuned = finetune(network, wrong_faces, options(60))
    labels_only = copy.deepcopy(network)
    optimizer = torch.optim.Adam(labels_only.parameters(), 2e-4)
    images = torch.tensor(faces.images)[:, None, 2:46, 2:46] / 255
    for _ in range(60 * -(-len(faces) // 64)):
        optimizer.zero_grad()
        F.cross_entropy(labels_only(images), torch.tensor(wrong_faces.labels).long()).backward()
        optimizer.step()
    # The measured ratio is 0.46; without the loss on the network's predictions it is 0.68.
    assert distance(finetuned, network, faces) < 0.57 * distance(labels_only, network, faces)


def test_finetuning_learns_from_soft_labels(faces):
    def finetune_with(soft_labels):
        voted = Faces(faces.images, faces.labels, faces.classes, soft_labels)
        return finetune(make_network(faces), voted, options(5))

    def loss_on_uniform(network):
        return predict_logits(network, faces).log_softmax(1).mean(1).neg().mean()

    by_labels = finetune_with(None)
    by_one_hot = finetune_with(np.eye(7, dtype=np.float32)[faces.labels])
    by_uniform = finetune_with(np.full((70, 7), 1 / 7, np.float32))
    torch.testing.assert_close(
        loss(by_labels, faces), loss(by_one_hot, faces), rtol=1e-3, atol=1e-3
    )
    assert loss_on_uniform(by_uniform) < loss_on_uniform(by_labels)
