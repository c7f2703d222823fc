from pathlib import Path

import pytest

from fer import params
from fer.training.networks.mini_xception import MiniXception
from fer.training.optim import make_optimizer, make_schedule

TRAIN = params.load(Path(__file__).parents[1] / "params.yaml").train


def rates(epochs, steps, **changes):
    train = TRAIN.model_copy(update=changes)
    optimizer = make_optimizer(MiniXception(1.0, 7), train)
    schedule = make_schedule(optimizer, train, epochs, steps)
    found = []
    for _ in range(epochs * steps):
        found.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    return found


def test_one_cycle_rises_and_falls():
    found = rates(10, 20, schedule="one-cycle", lr=0.2, warmup=0.25)
    top = found.index(max(found))
    assert max(found) == pytest.approx(0.2, rel=1e-3)
    assert top == pytest.approx(50, abs=2)
    assert found[:top] == sorted(found[:top])
    assert found[top:] == sorted(found[top:], reverse=True)
    assert found[-1] < 0.001


@pytest.mark.parametrize(("epochs", "steps", "warmup"), [(1, 1, 0.5), (1, 2, 0.5), (1, 20, 0.05)])
def test_one_cycle_of_few_steps(epochs, steps, warmup):
    assert len(rates(epochs, steps, schedule="one-cycle", warmup=warmup)) == epochs * steps


def test_cosine_falls_from_lr_to_nothing():
    found = rates(4, 5, schedule="cosine", lr=0.2)
    assert found[0] == 0.2
    assert found == sorted(found, reverse=True)
    assert found[-1] < 0.01


def test_step_is_the_decay_of_the_base_project():
    found = rates(12, 2, schedule="step", lr=0.01, decay_start=4, decay_every=3, decay_rate=0.5)[
        ::2
    ]
    # For its epoch > start: lr * rate ** ((epoch - start) // every)
    expected = [0.01 * 0.5 ** ((e - 4) // 3 if e > 4 else 0) for e in range(12)]
    assert found == pytest.approx(expected)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_weight_decay_is_for_convolution_weights_only(optimizer):
    train = TRAIN.model_copy(update={"optimizer": optimizer, "weight_decay": 0.1})
    for group in make_optimizer(MiniXception(1.0, 7), train).param_groups:
        for parameter in group["params"]:
            assert group["weight_decay"] == (0.1 if parameter.ndim == 4 else 0.0)
