from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fer import params
from fer.errors import FerError
from fer.training.checkpoint import read, save, write
from fer.training.clock import without_seconds
from fer.training.device import pick_device
from fer.training.fit import best_epoch, fingerprint, input_size, seconds_per_epoch, seconds_to
from fer.training.fit import fit as fit_network

CPU = torch.device("cpu")
RECIPE = params.load(Path(__file__).parents[1] / "params.yaml").recipe.changed(
    {"model.width": 0.5, "train.batch_size": 16}
)
EPOCHS = 3


class KilledError(Exception):
    pass


def fit(faces, checkpoint, recipe=RECIPE, epochs=EPOCHS, on_epoch=lambda history: None):
    network, history = fit_network(
        recipe, faces, faces[:35], epochs, CPU, on_epoch=on_epoch, checkpoint=checkpoint
    )
    return network.state_dict(), history


def at_the_end(faces, checkpoint, recipe):
    options = {"on_epoch": lambda history: None, "checkpoint": checkpoint}
    return fit_network(recipe, faces, faces[:35], EPOCHS, CPU, **options)[0]


def assert_same(a, b):
    assert without_seconds(a[1]) == without_seconds(b[1])
    assert all(torch.equal(a[0][name], b[0][name]) for name in a[0])


@pytest.fixture
def checkpoint(tmp_path):
    return tmp_path / "run.ckpt"


def test_history_has_every_epoch(faces, checkpoint):
    seen = []
    _, history = fit(faces, checkpoint, on_epoch=lambda rows: seen.append(len(rows)))
    assert seen == [1, 2, 3]
    for row in history:
        assert 0 <= row["val_accuracy"] <= 1
        assert min(row[f"seconds_{part}"] for part in ("data", "compute", "validation")) > 0


def test_keeps_the_best_epoch(faces, checkpoint):
    weights = []
    recipe = RECIPE.changed({"train.sizes": [44]})
    _, history = fit(faces, checkpoint, recipe)
    checkpoint.unlink()
    best = best_epoch(history)
    assert best["val_accuracy"] == max(row["val_accuracy"] for row in history)

    def remember(rows):
        weights.append(torch.load(checkpoint, weights_only=True)["network"])

    state, _ = fit(faces, checkpoint, recipe, on_epoch=remember)
    kept = weights[best["epoch"] - 1]
    assert all(torch.equal(state[name], kept[name]) for name in state)


@pytest.mark.parametrize("name", ["compact", "deep"])  # the latter has dropout
def test_same_seed_same_model_whatever_the_workers(faces, checkpoint, name):
    recipe = RECIPE.changed({"model.name": name, "model.width": 0.2})
    first = fit(faces, checkpoint, recipe)
    for workers in (0, 2):
        checkpoint.unlink()
        assert_same(first, fit(faces, checkpoint, recipe.changed({"train.num_workers": workers})))


@pytest.mark.parametrize("name", ["compact", "deep"])
def test_goes_on_after_a_stop_to_the_same_end(faces, checkpoint, name):
    recipe = RECIPE.changed({"model.name": name, "model.width": 0.2})
    whole = fit(faces, checkpoint, recipe)
    checkpoint.unlink()

    def kill(history):
        if len(history) == 2:
            raise KilledError

    with pytest.raises(KilledError):
        fit(faces, checkpoint, recipe, on_epoch=kill)
    seen = []
    assert_same(whole, fit(faces, checkpoint, recipe, on_epoch=lambda rows: seen.append(len(rows))))
    assert seen == [3]
    assert_same(whole, fit(faces, checkpoint, recipe))  # from the end of the run
    assert not at_the_end(faces, checkpoint, recipe).training


def test_file_of_a_run_that_went_on_has_the_same_bytes(faces, checkpoint, tmp_path):
    def stop(history):
        if len(history) == 2:
            raise KilledError

    def saved(name):
        network, history = fit_network(
            RECIPE, faces, faces, EPOCHS, CPU, on_epoch=lambda rows: None, checkpoint=checkpoint
        )
        about = {"classes": faces.classes, "dataset": "x", "scores": {}, "history": history}
        save(tmp_path / name, network, RECIPE.model, **about)
        checkpoint.unlink()
        return (tmp_path / name).read_bytes()

    whole = saved("whole.pt")
    with pytest.raises(KilledError):
        fit_network(RECIPE, faces, faces, EPOCHS, CPU, on_epoch=stop, checkpoint=checkpoint)
    assert saved("in_parts.pt") == whole


@settings(deadline=None)
@given(st.lists(st.integers(16, 44), min_size=1, max_size=6), st.integers(1, 30))
def test_sizes_share_the_epochs_and_the_last_is_last(sizes, epochs):
    found = [input_size(sizes, epoch, epochs) for epoch in range(epochs)]
    assert found[-1] == sizes[-1]
    if epochs % len(sizes) == 0:
        assert found == [size for size in sizes for _ in range(epochs // len(sizes))]


def test_best_epoch_is_one_of_full_size(faces, checkpoint):
    recipe = RECIPE.changed({"train.sizes": [24, 44]})
    _, history = fit(faces, checkpoint, recipe, epochs=4)
    assert [row["size"] for row in history] == [24, 24, 44, 44]
    history[0]["val_accuracy"] = 1.0  # of faces that are not those in use
    assert best_epoch(history)["epoch"] > 2


def test_seconds_to_an_accuracy_are_those_until_its_first_epoch_of_full_size():
    parts = {"seconds_data": 1.0, "seconds_compute": 2.0, "seconds_validation": 0.5}
    rows = [(24, 0.9), (44, 0.5), (44, 0.7), (44, 0.6)]
    history = [{"size": size, "val_accuracy": found} | parts for size, found in rows]
    assert seconds_to(history, (0.5, 0.6, 0.8)) == {"0.5": 7.0, "0.6": 10.5, "0.8": None}


def test_stop_of_another_recipe_is_not_gone_on_from(faces, checkpoint):
    def kill(history):
        raise KilledError

    with pytest.raises(KilledError):
        fit(faces, checkpoint, on_epoch=kill)
    other = RECIPE.changed({"train.lr": 0.01})
    seen = []
    fit(faces, checkpoint, other, on_epoch=lambda rows: seen.append(len(rows)))
    assert seen == [1, 2, 3]


def test_without_a_checkpoint_the_same_model(faces, checkpoint):
    assert_same(fit(faces, checkpoint), fit(faces, None))


def test_quiet_says_nothing(faces, capsys):
    fit_network(RECIPE, faces, faces, 1, CPU, on_epoch=lambda history: None, quiet=True)
    assert capsys.readouterr() == ("", "")


def test_diverging_is_a_clear_error(faces, checkpoint):
    with pytest.raises(FerError, match=r"train\.lr is 1e\+30: the loss is not finite"):
        fit(faces, checkpoint, RECIPE.changed({"train.lr": 1e30}))


def test_learns(faces, checkpoint):
    options = RECIPE.train.model_copy(
        update={
            "augment": params.Augment(),
            "optimizer": "adamw",
            "lr": 0.01,
            "label_smoothing": 0.0,
        }
    )
    recipe = RECIPE.model_copy(update={"train": options})
    faces.images[:] = faces.images // 4 + 25 * faces.labels[:, None, None]
    _, history = fit(faces, checkpoint, recipe, epochs=12)
    assert history[-1]["train_accuracy"] > 0.6 > history[0]["train_accuracy"]


def test_goes_on_on_another_kind_of_device(faces, checkpoint):
    whole = fit(faces, checkpoint)
    checkpoint.unlink()

    def kill(history):
        raise KilledError

    with pytest.raises(KilledError):
        fit(faces, checkpoint, on_epoch=kill)
    saved = read(checkpoint)
    saved["random"] = {"cuda": torch.zeros(16, dtype=torch.uint8)}
    write(checkpoint, saved)
    seen = []
    assert_same(whole, fit(faces, checkpoint, on_epoch=lambda rows: seen.append(len(rows))))
    assert seen == [2, 3]


@pytest.mark.parametrize("damage", [b"", b"text", slice(0, 1000), slice(0, -1000)])
def test_damaged_checkpoint_is_named_and_training_starts_anew(faces, checkpoint, capsys, damage):
    undisturbed = fit(faces, checkpoint)
    content = checkpoint.read_bytes()
    checkpoint.write_bytes(content[damage] if isinstance(damage, slice) else damage)
    capsys.readouterr()
    assert_same(undisturbed, fit(faces, checkpoint))
    assert "run.ckpt: is not a file of PyTorch, or damaged: training starts anew" in (
        capsys.readouterr().out
    )


def test_seconds_are_means_that_add_up():
    parts = ("data", "compute", "validation")
    history = [{f"seconds_{part}": float(n) for part in parts} for n in (1, 1, 4)]
    assert seconds_per_epoch(history) == {"data": 2, "compute": 2, "validation": 2, "total": 6}


def test_deterministic_is_for_this_training_alone(faces):
    for wanted in (True, False):
        fit(faces, None, RECIPE.changed({"train.deterministic": wanted}), epochs=1)
        assert torch.are_deterministic_algorithms_enabled() is wanted


def test_fingerprint_is_of_all_but_the_workers_and_what_follows(faces):
    def of(values):
        return fingerprint(RECIPE.changed(values), faces, faces[:35])

    assert of({}) == of({"train.num_workers": 2, "train.refine": 5})
    assert of({}) != of({"train.lr": 0.01})
    assert of({}) != of({"model.width": 1.0})
    assert of({}) != fingerprint(RECIPE, faces[:35], faces)


@pytest.mark.skipif(torch.cuda.is_available(), reason="has a GPU")
@pytest.mark.parametrize("name", ["cuda", "cuda:1"])
def test_missing_gpu_is_a_clear_error(name):
    with pytest.raises(FerError, match=f"device is {name}, but there is none on this machine"):
        pick_device(name)
