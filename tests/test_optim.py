from pathlib import Path

import pytest

from fer.core import params
from fer.training.networks.mini_xception import MiniXception
from fer.training.optim import make_optimizer, make_schedule

TRAIN = params.load(Path(__file__).parents[1] / "params.yaml").train


def learning_rates(epochs, steps, **changes):
    """Return the learning rate of each step."""
    train = TRAIN.model_copy(update=changes)
    optimizer = make_optimizer(MiniXception(1.0, 7), train)
    schedule = make_schedule(optimizer, train, epochs, steps)
    rates = []
    for _ in range(epochs * steps):
        rates.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    return rates


@pytest.mark.parametrize(("schedule", "peak"), [("one-cycle", 50), ("cosine", 0)])
def test_learning_rate_rises_to_its_peak_and_falls_to_nearly_zero(schedule, peak):
    rates = learning_rates(10, 20, schedule=schedule, lr=0.2, warmup=0.25)
    assert max(rates) == pytest.approx(0.2, rel=1e-3)
    assert rates.index(max(rates)) == pytest.approx(peak, abs=2)
    peak = rates.index(max(rates))
    assert rates[:peak] == sorted(rates[:peak])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert rates[-1] < 0.001


@pytest.mark.parametrize(("epochs", "steps", "warmup"), [(1, 1, 0.5), (1, 2, 0.5), (1, 20, 0.05)])
def test_one_cycle_works_with_few_steps(epochs, steps, warmup):
    rates = learning_rates(epochs, steps, schedule="one-cycle", warmup=warmup)
    assert len(rates) == epochs * steps


def test_step_is_the_decay_of_the_base_project():
    decay = {"decay_start": 4, "decay_every": 3, "decay_rate": 0.5}
    rates = learning_rates(12, 2, schedule="step", lr=0.01, **decay)[::2]  # one per epoch
    # The base project uses lr * rate ** ((epoch - start) // every) in epochs after start.
    expected = [0.01 * 0.5 ** ((e - 4) // 3 if e > 4 else 0) for e in range(12)]
    assert rates == pytest.approx(expected)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_weight_decay_acts_on_convolution_weights_only(optimizer):
    train = TRAIN.model_copy(update={"optimizer": optimizer, "weight_decay": 0.1})
    for group in make_optimizer(MiniXception(1.0, 7), train).param_groups:
        for parameter in group["params"]:
            assert group["weight_decay"] == (0.1 if parameter.ndim == 4 else 0.0)
