import copy
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from fer import params
from fer.faces import Faces
from fer.params import Model
from fer.training import evaluation
from fer.training.networks import build
from fer.training.refining import refine

RECIPE = params.load(Path(__file__).parents[1] / "params.yaml").recipe


def options(epochs, seed=0):
    return RECIPE.train.model_copy(update={"refine": epochs, "seed": seed})


def made(faces):
    torch.manual_seed(0)
    network = build(Model(name="compact", width=0.5), 7).train()
    network(torch.tensor(faces.images)[:, None, 2:46, 2:46] / 255)  # so that BatchNorm knows them
    return network.eval()


def loss(network, faces):
    return F.cross_entropy(
        evaluation.logits(network, torch.tensor(faces.images)), torch.tensor(faces.labels).long()
    )


def apart(a, b, faces):
    ours, theirs = (evaluation.logits(one, torch.tensor(faces.images)) for one in (a, b))
    return (ours.softmax(1) - theirs.softmax(1)).abs().mean()


def test_refining_learns_the_labels_and_leaves_the_network_alone(faces):
    network = made(faces)
    before = copy.deepcopy(network.state_dict())
    refined = refine(network, faces, options(10))
    assert loss(refined, faces) < loss(network, faces)
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    buffers = zip(network.buffers(), refined.buffers(), strict=True)
    assert all(torch.equal(a, b) for a, b in buffers)  # BatchNorm's


def test_network_in_training_is_refined_as_one_in_use(faces):
    network, other = made(faces), made(faces).train()
    refined = [refine(one, faces, options(2)) for one in (network, other)]
    assert loss(refined[0], faces) == loss(refined[1], faces)
    assert loss(network, faces) == loss(other, faces)


def test_refining_for_no_epochs_changes_nothing(faces):
    network = made(faces)
    refined = refine(network, faces, options(0))
    assert loss(refined, faces) == loss(network, faces)


def test_same_seed_same_refinement(faces):
    network = made(faces)
    first, again, other = (refine(network, faces, options(1, seed)) for seed in (0, 0, 1))
    assert loss(first, faces) == loss(again, faces) != loss(other, faces)


def test_deterministic_is_for_this_refinement_alone(faces):
    for wanted in (True, False):
        refine(made(faces), faces, options(1).model_copy(update={"deterministic": wanted}))
        assert torch.are_deterministic_algorithms_enabled() is wanted


def steps(network):
    """The weights of each convolution, in steps of int8."""
    weights = [m.weight.detach() for m in network.modules() if isinstance(m, torch.nn.Conv2d)]
    return [weight / weight.abs().amax((1, 2, 3), keepdim=True) * 64 for weight in weights]


def test_refined_weights_are_those_that_int8_holds(faces):
    network = made(faces)
    refined = steps(refine(network, faces, options(10)))
    for found in refined:
        torch.testing.assert_close(found, found.round(), atol=1e-3, rtol=0)
    # They have learned, too: rounding alone has no gradient.
    before = [found.round() for found in steps(network)]
    assert any((a - b).abs().max() > 0.5 for a, b in zip(refined, before, strict=True))


def test_refining_does_not_forget_what_the_network_said(faces):
    network, wrong = made(faces), copy.deepcopy(faces)
    wrong.labels[:] = 0
    refined = refine(network, wrong, options(60))
    alone = copy.deepcopy(network)
    optimizer = torch.optim.Adam(alone.parameters(), 2e-4)
    images = torch.tensor(faces.images)[:, None, 2:46, 2:46] / 255
    for _ in range(60 * -(-len(faces) // 64)):
        optimizer.zero_grad()
        F.cross_entropy(alone(images), torch.tensor(wrong.labels).long()).backward()
        optimizer.step()
    # It is 0.46 times as far, and without what the network said 0.68.
    assert apart(refined, network, faces) < 0.57 * apart(alone, network, faces)


def test_refining_learns_from_shares(faces):
    certain = np.eye(7, dtype=np.float32)[faces.labels]
    flat = np.full((70, 7), 1 / 7, np.float32)
    refined = [
        refine(made(faces), Faces(faces.images, faces.labels, faces.classes, shares), options(5))
        for shares in (None, certain, flat)
    ]
    by_labels, by_shares = (loss(one, faces) for one in refined[:2])
    torch.testing.assert_close(by_labels, by_shares, rtol=1e-3, atol=1e-3)
    output = [
        evaluation.logits(one, torch.tensor(faces.images)) for one in (refined[0], refined[2])
    ]
    by_labels, by_flat = (one.log_softmax(1).mean(1).neg().mean() for one in output)
    assert by_flat < by_labels  # the cross-entropy of shares that are all alike
