from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fer.core import params
from fer.core.errors import FerError
from fer.training.averaging import MovingAverage
from fer.training.clock import without_seconds
from fer.training.device import pick_device
from fer.training.fit import (
    best_epoch,
    fingerprint,
    input_size,
    seconds_per_epoch,
    seconds_to_accuracy,
)
from fer.training.fit import fit as fit_network
from fer.training.model_file import read, save, write
from fer.training.networks import build

CPU = torch.device("cpu")
CONFIG = params.load(Path(__file__).parents[1] / "params.yaml").config.with_values(
    {"model.width": 0.5, "train.batch_size": 16}
)
EPOCHS = 3


class KilledError(Exception):
    pass


def fit(faces, checkpoint, config=CONFIG, epochs=EPOCHS, on_epoch=lambda history: None):
    """Return the weights of the best epoch, and the history."""
    network, history = fit_network(
        config, faces, faces[:35], epochs, CPU, on_epoch=on_epoch, checkpoint=checkpoint
    )
    return network.state_dict(), history


def assert_same(result, expected):
    assert without_seconds(result[1]) == without_seconds(expected[1])
    assert all(torch.equal(result[0][name], expected[0][name]) for name in expected[0])


@pytest.fixture
def checkpoint(tmp_path):
    return tmp_path / "run.ckpt"


def test_history_has_every_epoch(faces, checkpoint):
    epochs = []
    _, history = fit(faces, checkpoint, on_epoch=lambda rows: epochs.append(len(rows)))
    assert epochs == [1, 2, 3]
    for row in history:
        assert 0 <= row["val_accuracy"] <= 1
        assert min(row[f"seconds_{part}"] for part in ("data", "compute", "validation")) > 0


def test_fit_returns_the_weights_of_the_best_epoch(faces, checkpoint):
    weights_by_epoch = []
    config = CONFIG.with_values({"train.input_sizes": [44]})
    _, history = fit(faces, checkpoint, config)
    checkpoint.unlink()
    best = best_epoch(history)
    assert best["val_accuracy"] == max(row["val_accuracy"] for row in history)

    def save_weights(rows):
        weights_by_epoch.append(torch.load(checkpoint, weights_only=True)["network"])

    weights, _ = fit(faces, checkpoint, config, on_epoch=save_weights)
    expected = weights_by_epoch[best["epoch"] - 1]
    assert all(torch.equal(weights[name], expected[name]) for name in weights)


@pytest.mark.parametrize("name", ["compact", "deep"])  # deep has dropout
def test_same_seed_gives_the_same_model_with_any_number_of_workers(faces, checkpoint, name):
    config = CONFIG.with_values({"model.name": name, "model.width": 0.2})
    expected = fit(faces, checkpoint, config)
    for workers in (0, 2):
        checkpoint.unlink()
        with_workers = config.with_values({"train.num_workers": workers})
        assert_same(fit(faces, checkpoint, with_workers), expected)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("compact", {}),
        ("deep", {}),
        ("compact", {"train.average": 0.1, "train.augment.erase": 0.5, "train.augment.mixup": 0.4}),
    ],
)
def test_resumed_run_gives_the_same_result(faces, checkpoint, name, changes):
    config = CONFIG.with_values({"model.name": name, "model.width": 0.2} | changes)
    uninterrupted = fit(faces, checkpoint, config)
    checkpoint.unlink()

    def kill(history):
        if len(history) == 2:
            raise KilledError

    with pytest.raises(KilledError):
        fit(faces, checkpoint, config, on_epoch=kill)
    epochs = []
    resumed = fit(faces, checkpoint, config, on_epoch=lambda rows: epochs.append(len(rows)))
    assert_same(resumed, uninterrupted)
    assert epochs == [3]
    assert_same(fit(faces, checkpoint, config), uninterrupted)  # from the checkpoint of the end
    options = {"on_epoch": lambda history: None, "checkpoint": checkpoint}
    network, _ = fit_network(config, faces, faces[:35], EPOCHS, CPU, **options)
    assert not network.training


def test_model_file_of_a_resumed_run_has_the_same_bytes(faces, checkpoint, tmp_path):
    def kill(history):
        if len(history) == 2:
            raise KilledError

    def train_and_save(name):
        network, history = fit_network(
            CONFIG, faces, faces, EPOCHS, CPU, on_epoch=lambda rows: None, checkpoint=checkpoint
        )
        metadata = {"classes": faces.classes, "dataset": "x", "scores": {}, "history": history}
        save(tmp_path / name, network, CONFIG.model, **metadata)
        checkpoint.unlink()
        return (tmp_path / name).read_bytes()

    uninterrupted = train_and_save("uninterrupted.pt")
    with pytest.raises(KilledError):
        fit_network(CONFIG, faces, faces, EPOCHS, CPU, on_epoch=kill, checkpoint=checkpoint)
    assert train_and_save("resumed.pt") == uninterrupted


@settings(deadline=None)
@given(st.lists(st.integers(16, 44), min_size=1, max_size=6), st.integers(1, 30))
def test_sizes_have_equal_shares_of_the_epochs_and_the_last_size_comes_last(sizes, epochs):
    sizes_by_epoch = [input_size(sizes, epoch, epochs) for epoch in range(epochs)]
    assert sizes_by_epoch[-1] == sizes[-1]
    if epochs % len(sizes) == 0:
        assert sizes_by_epoch == [size for size in sizes for _ in range(epochs // len(sizes))]


def test_average_of_the_weights_is_returned(faces, checkpoint):
    config = CONFIG.with_values({"train.average": 0.1, "train.input_sizes": [44]})
    steps = []

    def record(rows):
        steps.append(torch.load(checkpoint, weights_only=True))

    weights, history = fit(faces, checkpoint, config, on_epoch=record)
    saved = steps[best_epoch(history)["epoch"] - 1]
    assert all(torch.equal(weights[name], saved["average"][name]) for name in weights)
    assert not torch.equal(saved["average"]["head.weight"], saved["network"]["head.weight"])


def test_moving_average_is_the_sum_of_geometric_weights():
    network = build(CONFIG.model, 7)
    average = MovingAverage(network, horizon=4)
    parameter, averaged = network.head.weight, average.network.head.weight
    expected = parameter.detach().clone()
    for step in range(5):
        with torch.no_grad():
            parameter.fill_(step)
        average.update()
        expected = 0.75 * expected + 0.25 * step
    torch.testing.assert_close(averaged, expected)
    assert not averaged.requires_grad


def test_average_with_a_horizon_of_one_step_is_the_network_itself(faces, checkpoint):
    expected = fit(faces, checkpoint)
    checkpoint.unlink()
    averaged = fit(faces, checkpoint, CONFIG.with_values({"train.average": 1e-9}))
    assert without_seconds(averaged[1]) == without_seconds(expected[1])


def test_best_epoch_has_full_size(faces, checkpoint):
    config = CONFIG.with_values({"train.input_sizes": [24, 44]})
    _, history = fit(faces, checkpoint, config, epochs=4)
    assert [row["size"] for row in history] == [24, 24, 44, 44]
    history[0]["val_accuracy"] = 1.0  # measured at a smaller size, so it must not count
    assert best_epoch(history)["epoch"] > 2


def test_seconds_to_accuracy_end_with_the_first_epoch_at_full_size_that_reaches_it():
    parts = {"seconds_data": 1.0, "seconds_compute": 2.0, "seconds_validation": 0.5}
    rows = [(24, 0.9), (44, 0.5), (44, 0.7), (44, 0.6)]
    history = [{"size": size, "val_accuracy": accuracy} | parts for size, accuracy in rows]
    assert seconds_to_accuracy(history, (0.5, 0.6, 0.8)) == {"0.5": 7.0, "0.6": 10.5, "0.8": None}


def test_checkpoint_of_another_configuration_is_ignored(faces, checkpoint):
    def kill(history):
        raise KilledError

    with pytest.raises(KilledError):
        fit(faces, checkpoint, on_epoch=kill)
    other_config = CONFIG.with_values({"train.lr": 0.01})
    epochs = []
    fit(faces, checkpoint, other_config, on_epoch=lambda rows: epochs.append(len(rows)))
    assert epochs == [1, 2, 3]


def test_result_is_the_same_without_a_checkpoint(faces, checkpoint):
    assert_same(fit(faces, None), fit(faces, checkpoint))


def test_quiet_prints_nothing(faces, capsys):
    fit_network(CONFIG, faces, faces, 1, CPU, on_epoch=lambda history: None, quiet=True)
    assert capsys.readouterr() == ("", "")


def test_divergence_is_a_fer_error(faces, checkpoint):
    with pytest.raises(FerError, match=r"train\.lr is 1e\+30: the loss is not finite"):
        fit(faces, checkpoint, CONFIG.with_values({"train.lr": 1e30}))


def test_fit_learns_to_classify_by_brightness(faces, checkpoint):
    options = CONFIG.train.model_copy(
        update={
            "augment": params.Augment(),
            "optimizer": "adamw",
            "lr": 0.01,
            "label_smoothing": 0.0,
        }
    )
    config = CONFIG.model_copy(update={"train": options})
    faces.images[:] = faces.images // 4 + 25 * faces.labels[:, None, None]
    _, history = fit(faces, checkpoint, config, epochs=12)
    assert history[-1]["train_accuracy"] > 0.6 > history[0]["train_accuracy"]


def test_run_of_another_kind_of_device_is_resumed(faces, checkpoint):
    uninterrupted = fit(faces, checkpoint)
    checkpoint.unlink()

    def kill(history):
        raise KilledError

    with pytest.raises(KilledError):
        fit(faces, checkpoint, on_epoch=kill)
    saved = read(checkpoint)
    saved["random"] = {"cuda": torch.zeros(16, dtype=torch.uint8)}
    write(checkpoint, saved)
    epochs = []
    resumed = fit(faces, checkpoint, on_epoch=lambda rows: epochs.append(len(rows)))
    assert_same(resumed, uninterrupted)
    assert epochs == [2, 3]


@pytest.mark.parametrize("damage", [b"", b"text", slice(0, 1000), slice(0, -1000)])
def test_damaged_checkpoint_is_reported_and_training_starts_anew(faces, checkpoint, capsys, damage):
    expected = fit(faces, checkpoint)
    content = checkpoint.read_bytes()
    checkpoint.write_bytes(content[damage] if isinstance(damage, slice) else damage)
    capsys.readouterr()
    assert_same(fit(faces, checkpoint), expected)
    assert "run.ckpt: is not a file of PyTorch, or damaged: training starts anew" in (
        capsys.readouterr().out
    )


def test_seconds_per_epoch_are_means_and_their_sum():
    parts = ("data", "compute", "validation")
    history = [{f"seconds_{part}": float(n) for part in parts} for n in (1, 1, 4)]
    assert seconds_per_epoch(history) == {"data": 2, "compute": 2, "validation": 2, "total": 6}


def test_deterministic_is_set_for_each_training(faces):
    for enabled in (True, False):
        fit(faces, None, CONFIG.with_values({"train.deterministic": enabled}), epochs=1)
        assert torch.are_deterministic_algorithms_enabled() is enabled


def test_fingerprint_ignores_only_the_workers_and_qat_epochs(faces):
    def fingerprint_with(values):
        return fingerprint(CONFIG.with_values(values), faces, faces[:35])

    expected = fingerprint_with({})
    assert fingerprint_with({"train.num_workers": 2, "train.qat_epochs": 5}) == expected
    assert fingerprint_with({"train.lr": 0.01}) != expected
    assert fingerprint_with({"model.width": 1.0}) != expected
    assert fingerprint(CONFIG, faces[:35], faces) != expected


@pytest.mark.skipif(torch.cuda.is_available(), reason="has a GPU")
@pytest.mark.parametrize("name", ["cuda", "cuda:1"])
def test_missing_gpu_is_a_fer_error(name):
    with pytest.raises(FerError, match=f"device is {name}, but this machine has none"):
        pick_device(name)
