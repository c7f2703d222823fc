from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from layouts import PARAMS

from fer.core import params
from fer.core.errors import FerError
from fer.training.device import pick_device
from fer.training.evaluation import predict_logits
from fer.training.fit import fit as fit_network
from fer.training.fit import input_size
from fer.training.history import best_epoch, seconds_per_epoch, without_seconds
from fer.training.model_file import read, save, write
from fer.training.networks import build
from fer.training.optim import MovingAverage
from fer.training.robustness import damaged_in_turn
from fer.training.run import TrainingRun

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
DEVICES = ["cpu", pytest.param("cuda", marks=needs_gpu)]
CONFIG = PARAMS.config.with_values(
    {"model.width": 0.5, "train.batch_size": 16, "train.deterministic": True}
)
EPOCHS = 3


class KilledError(Exception):
    pass


def fit(faces, checkpoint=None, config=CONFIG, epochs=EPOCHS, device="cpu", **options):
    """Return the weights of the best epoch, and the history."""
    torch.manual_seed(1)
    run = TrainingRun(config, faces, faces[:35], epochs, torch.device(device))
    network, history = fit_network(run, checkpoint=checkpoint, **options)
    assert not network.training
    return network.state_dict(), history


def fit_until_killed(faces, checkpoint, config=CONFIG, device="cpu"):
    def kill(row):
        if row["epoch"] == 2:
            raise KilledError

    with pytest.raises(KilledError):
        fit(faces, checkpoint, config, device=device, on_epoch=kill)


def assert_same(result, expected):
    assert without_seconds(result[1]) == without_seconds(expected[1])
    assert all(torch.equal(result[0][name], expected[0][name]) for name in expected[0])


@pytest.fixture
def checkpoint(tmp_path):
    return tmp_path / "run.ckpt"


@pytest.mark.parametrize(("average", "kept"), [(0.0, "network"), (0.1, "average")])
def test_fit_returns_the_weights_of_the_best_epoch(faces, checkpoint, average, kept):
    config = CONFIG.with_values({"train.input_sizes": [44], "train.average": average})
    states = []
    keep = {"on_epoch": lambda _: states.append(read(checkpoint))}
    weights, history = fit(faces, checkpoint, config, **keep)
    best = best_epoch(history)
    assert best["val_accuracy"] == max(row["val_accuracy"] for row in history)
    state = states[best["epoch"] - 1]
    assert all(torch.equal(weights[name], state[kept][name]) for name in weights)
    is_averaged = not torch.equal(state[kept]["head.weight"], state["network"]["head.weight"])
    assert is_averaged == (average > 0)


@pytest.mark.parametrize("device", DEVICES)
def test_resumed_run_and_one_with_workers_give_the_same_result(faces, checkpoint, tmp_path, device):
    changes = {"train.average": 0.1, "train.augment.noise": 0.5}
    config = CONFIG.with_values({"model.width": 0.2} | changes)
    uninterrupted = fit(faces, None, config, device=device)
    assert_same(fit(faces, None, config, device=device), uninterrupted)
    with_workers = config.with_values({"train.num_workers": 2})
    if device == "cpu":  # on a GPU the augmentation is computed elsewhere
        assert_same(fit(faces, None, with_workers), uninterrupted)
    fit_until_killed(faces, checkpoint, config, device)
    rows, files = [], []
    resumed = fit(faces, checkpoint, config, device=device, on_epoch=rows.append)
    assert_same(resumed, uninterrupted)
    assert [row["epoch"] for row in rows] == [3]
    for _, history in (resumed, uninterrupted):  # equal rows, but not the same objects
        files.append(tmp_path / f"{len(files)}.pt")
        network = build(config.model, 7)
        network.load_state_dict(uninterrupted[0])
        metadata = {"classes": faces.classes, "dataset": "x", "scores": {}, "history": history}
        save(files[-1], network, config.model, **metadata)
    assert files[0].read_bytes() == files[1].read_bytes()


@settings(deadline=None)
@given(st.lists(st.integers(16, 44), min_size=1, max_size=6), st.integers(1, 30))
def test_sizes_have_equally_many_epochs_and_the_last_size_comes_last(sizes, epochs):
    sizes_by_epoch = [input_size(sizes, epoch, epochs) for epoch in range(epochs)]
    assert sizes_by_epoch[-1] == sizes[-1]
    if epochs % len(sizes) == 0:
        assert sizes_by_epoch == [size for size in sizes for _ in range(epochs // len(sizes))]


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


def test_best_epoch_counts_the_damaged_copy_of_val(faces):
    damage = PARAMS.damage
    config = CONFIG.with_values({"train.input_sizes": [44], "train.augment.noise": 0.5})
    run = TrainingRun(config, faces, faces[:35], 2, torch.device("cpu"), damage=damage)
    network, history = fit_network(run, quiet=True)
    copy = damaged_in_turn(faces[:35], damage)
    predicted = predict_logits(network, torch.tensor(copy.images)).argmax(1).numpy()
    accuracy = best_epoch(history)["val_damaged_accuracy"]
    assert accuracy == pytest.approx((predicted == copy.labels).mean(), abs=1e-6)
    rows = [{"size": 44, "val_accuracy": 0.7, "val_damaged_accuracy": a} for a in (0.5, 0.6, 0.4)]
    assert best_epoch(rows) == rows[1]


def test_best_epoch_has_full_size(faces, capsys):
    config = CONFIG.with_values({"train.input_sizes": [24, 44]})
    _, history = fit(faces, None, config, epochs=4, quiet=True)
    assert [row["size"] for row in history] == [24, 24, 44, 44]
    history[0]["val_accuracy"] = 1.0  # measured at a smaller size, so it must not count
    assert best_epoch(history)["epoch"] > 2
    assert capsys.readouterr() == ("", "")


def test_divergence_is_a_fer_error(faces):
    with pytest.raises(FerError, match=r"train\.lr is 1e\+30: the loss is not finite"):
        fit(faces, None, CONFIG.with_values({"train.lr": 1e30}))


def test_fit_learns_to_classify_by_brightness(faces):
    changes = {"augment": params.Augment(), "optimizer": "adamw", "lr": 0.01}
    options = CONFIG.train.model_copy(update=changes)
    faces.images[:] = faces.images // 4 + 25 * faces.labels[:, None, None]
    _, history = fit(faces, None, CONFIG.model_copy(update={"train": options}), epochs=12)
    assert history[-1]["train_accuracy"] > 0.6 > history[0]["train_accuracy"]


def test_other_checkpoints(faces, checkpoint, capsys):
    """Of another kind of device: resumed. Of another configuration, or damaged: ignored."""
    uninterrupted = fit(faces)
    fit_until_killed(faces, checkpoint)
    saved = read(checkpoint)
    for content, expected in (
        (saved | {"random": {"cuda": torch.zeros(16, dtype=torch.uint8)}}, [3]),
        (saved | {"key": "of another run"}, [1, 2, 3]),
        (None, [1, 2, 3]),
    ):
        if content:
            write(checkpoint, content)
        else:
            checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
        rows = []
        assert_same(fit(faces, checkpoint, on_epoch=rows.append), uninterrupted)
        assert [row["epoch"] for row in rows] == expected
    line = "run.ckpt: is not a file of PyTorch, or damaged: training starts anew"
    assert line in capsys.readouterr().out


def test_seconds_per_epoch_are_means_and_their_sum():
    parts = ("data", "compute", "validation")
    history = [{f"seconds_{part}": float(n) for part in parts} for n in (1, 1, 4)]
    assert seconds_per_epoch(history) == {"data": 2, "compute": 2, "validation": 2, "total": 6}


def test_key_depends_on_all_but_the_workers_and_qat_epochs(faces):
    run = TrainingRun(CONFIG, faces, faces[:35], EPOCHS, torch.device("cpu"))
    ignored = {"train.num_workers": 2, "train.qat_epochs": 5}
    assert replace(run, config=CONFIG.with_values(ignored)).key == run.key
    teacher = build(CONFIG.model, 7)
    weights = teacher.state_dict()
    votes = torch.full((70, 7), 1 / 7).numpy()
    others = (
        *({"config": CONFIG.with_values(v)} for v in ({"train.lr": 0.01}, {"model.width": 1.0})),
        {"train": faces[:35], "val": faces},
        {"train": replace(faces, classes=tuple("abcdefg"))},
        {"train": replace(faces, soft_labels=votes)},
        {"epochs": 4},
        {"teacher": teacher},
        {"teacher": build(CONFIG.model, 7)},
        {"init": weights},
        {"init": weights | {"head.bias": weights["head.bias"] + 1}},
    )
    assert len({run.key, *(replace(run, **changes).key for changes in others)}) == 11


@pytest.mark.skipif(torch.cuda.is_available(), reason="has a GPU")
@pytest.mark.parametrize("name", ["cuda", "cuda:1"])
def test_missing_gpu_is_a_fer_error(name):
    with pytest.raises(FerError, match=f"device is {name}, but this machine has none"):
        pick_device(name)
