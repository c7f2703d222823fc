import math

import pytest
import torch
import torch.nn.functional as F
from layouts import PARAMS

from fer.core import params
from fer.training.networks import build
from fer.training.step import Step

CONFIG = PARAMS.config
IMAGES = torch.rand(20, 1, 44, 44, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(20) % 7


def run_step(teacher_logits=None, precision=torch.float32, **values):
    """Return the sums and gradients of one step; the initial weights are always the same."""
    torch.manual_seed(0)
    network = build(CONFIG.model, 7)
    step = Step(network, CONFIG.train.model_copy(update=values), precision)
    sums = step(IMAGES, LABELS, teacher_logits)
    return sums, [parameter.grad for parameter in network.parameters()]


def test_step_returns_summed_loss_and_number_correct():
    torch.manual_seed(0)
    output = build(CONFIG.model, 7)(IMAGES)
    (loss, correct), _ = run_step(label_smoothing=0.0)
    assert loss == pytest.approx(F.cross_entropy(output, LABELS, reduction="sum").item(), rel=1e-5)
    assert correct == (output.argmax(1) == LABELS).sum()
    assert loss / 20 == pytest.approx(math.log(7), rel=0.2)


def test_bfloat16_loss_is_close_to_float32_but_not_equal():
    exact, rounded = (run_step(precision=p)[0][0].item() for p in (torch.float32, torch.bfloat16))
    assert exact != rounded
    assert exact == pytest.approx(rounded, rel=1e-2)


def test_distillation_gradient_has_the_same_size_at_any_temperature():
    """Hinton, Vinyals and Dean scale the loss by temperature**2 for this."""
    teacher_logits = torch.randn(20, 7, generator=torch.Generator().manual_seed(1)).half()

    def gradient_norm(temperature):
        distill = params.Distill(weight=1.0, temperature=temperature)
        _, gradients = run_step(teacher_logits, distill=distill)
        return sum(g.square().sum() for g in gradients).sqrt().item()

    # From a temperature of 20, softmax is nearly linear.
    assert gradient_norm(20.0) == pytest.approx(gradient_norm(80.0), rel=0.05)


def test_loss_of_soft_labels_is_their_cross_entropy():
    torch.manual_seed(0)
    network = build(CONFIG.model, 7)
    options = CONFIG.train.model_copy(update={"label_smoothing": 0.0})
    step = Step(network, options, torch.float32)
    step(IMAGES, LABELS)  # its gradients are not added to those of the next step
    torch.testing.assert_close(step(IMAGES, F.one_hot(LABELS, 7).float()), run_step()[0])
    for parameter, expected in zip(network.parameters(), run_step()[1], strict=True):
        torch.testing.assert_close(parameter.grad, expected)
    soft_labels = torch.rand(20, 7, generator=torch.Generator().manual_seed(2)).softmax(1)
    loss, correct = step(IMAGES, soft_labels)
    log_probabilities = network(IMAGES).log_softmax(1)
    torch.testing.assert_close(loss, -(soft_labels * log_probabilities).sum())
    assert correct == (log_probabilities.argmax(1) == soft_labels.argmax(1)).sum()
