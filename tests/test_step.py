import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from fer import params
from fer.training.networks import build
from fer.training.step import Step

RECIPE = params.load(Path(__file__).parents[1] / "params.yaml").recipe
IMAGES = torch.rand(20, 1, 44, 44, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(20) % 7


def computed(told=None, precision=torch.float32, **values):
    """The sums and gradients of a step of a network that is always the same."""
    torch.manual_seed(0)
    network = build(RECIPE.model, 7)
    sums = Step(network, RECIPE.train.model_copy(update=values), precision)(
        IMAGES, LABELS, *told or ()
    )
    return sums, [parameter.grad for parameter in network.parameters()]


def test_sums_are_of_all_faces():
    torch.manual_seed(0)
    output = build(RECIPE.model, 7)(IMAGES)
    (loss, right), _ = computed(label_smoothing=0.0)
    assert loss == pytest.approx(F.cross_entropy(output, LABELS, reduction="sum").item(), rel=1e-5)
    assert right == (output.argmax(1) == LABELS).sum()
    assert loss / 20 == pytest.approx(math.log(7), rel=0.2)


def test_gradients_are_of_this_batch_alone():
    torch.manual_seed(0)
    network = build(RECIPE.model, 7)
    step = Step(network, RECIPE.train, torch.float32)
    for _ in range(2):
        step(IMAGES, LABELS)
    for found, expected in zip(network.parameters(), computed()[1], strict=True):
        torch.testing.assert_close(found.grad, expected)


def test_bfloat16_is_near_float32_and_another():
    exact, rounded = (computed(precision=p)[0][0].item() for p in (torch.float32, torch.bfloat16))
    assert exact != rounded
    assert exact == pytest.approx(rounded, rel=1e-2)


def test_gradient_of_what_a_teacher_says_keeps_its_size_at_any_temperature():
    """As Hinton, Vinyals and Dean have it: soft targets alone have 1 / temperature**2 of it."""
    told = (torch.randn(20, 7, generator=torch.Generator().manual_seed(1)).half(),)

    def size(heat):
        distill = params.Distill(weight=1.0, temperature=heat)
        return sum(g.square().sum() for g in computed(told, distill=distill)[1]).sqrt().item()

    # From there on, softmax is as good as linear.
    assert size(20.0) == pytest.approx(size(80.0), rel=0.05)


def test_shares_that_are_certain_count_as_labels():
    torch.manual_seed(0)
    step = Step(build(RECIPE.model, 7), RECIPE.train, torch.float32)
    sums = step(IMAGES, F.one_hot(LABELS, 7).float())
    torch.testing.assert_close(sums, computed()[0])
    for found, expected in zip(step.network.parameters(), computed()[1], strict=True):
        torch.testing.assert_close(found.grad, expected)


def test_loss_of_shares_is_their_cross_entropy():
    shares = torch.rand(20, 7, generator=torch.Generator().manual_seed(2)).softmax(1)
    torch.manual_seed(0)
    network = build(RECIPE.model, 7)
    options = RECIPE.train.model_copy(update={"label_smoothing": 0.0})
    loss, right = Step(network, options, torch.float32)(IMAGES, shares)
    torch.manual_seed(0)
    output = build(RECIPE.model, 7)(IMAGES).log_softmax(1)
    torch.testing.assert_close(loss, -(shares * output).sum())
    assert right == (output.argmax(1) == shares.argmax(1)).sum()
