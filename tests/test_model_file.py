"""Model files, and the initial weights from one."""

import pytest
import torch
from layouts import PARAMS

from fer.core.errors import FerError
from fer.training import model_file
from fer.training.fit import fit
from fer.training.networks import NETWORKS, build
from fer.training.run import TrainingRun

CONFIG = PARAMS.config.with_values({"model.width": 0.5})


def save(path, config=CONFIG, classes=("a", "b", "c"), **changes):
    """Write a model file with random weights and return its network."""
    torch.manual_seed(7)
    network = build(config.model, len(classes)).eval()
    metadata = {"classes": classes, "dataset": "x", "scores": {"val_accuracy": 0.5}, "history": []}
    model_file.save(path, network, config.model, **metadata | changes)
    return network


def test_load_returns_what_was_saved(tmp_path):
    path = tmp_path / "model.pt"
    history = [{"epoch": 1, "val_accuracy": 0.5, "seconds_data": 3.0}]
    network = save(path, history=history)
    loaded, metadata = model_file.load(path, ["a", "b", "c"])
    inputs = torch.rand(2, 1, 44, 44)
    assert torch.equal(network(inputs), loaded(inputs))
    assert metadata["dataset"] == "x"
    assert metadata["scores"] == {"val_accuracy": 0.5}
    assert metadata["history"] == [{"epoch": 1, "val_accuracy": 0.5}]
    with pytest.raises(FerError, match="was trained on the classes a, b, c, the data set has d"):
        model_file.load(path, ["d"])


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("classes", ["Happy", "Sad"], "its weights do not fit the network"),
        ("format", "other", "its format is 'other', not 'fer-pipeline model 2'"),
        ("input_size", 48, "its input_size is 48, not 44"),
        ("model", {"name": "compact", "width": 2.0}, "its weights do not fit the network"),
        ("model", {"name": "unknown", "width": 1.0}, "its weights do not fit the network"),
    ],
)
def test_file_with_other_metadata_is_refused(tmp_path, key, value, message):
    path = tmp_path / "model.pt"
    save(path)
    torch.save(torch.load(path, weights_only=True) | {key: value}, path)
    with pytest.raises(FerError, match=message):
        model_file.load(path)


def with_init(path, config=CONFIG):
    return config.with_values({"train.init": str(path)})


@pytest.mark.parametrize("name", NETWORKS)
def test_initial_weights_leave_the_head_out_for_other_classes(tmp_path, capsys, name):
    config = CONFIG.with_values({"model.name": name})
    assert model_file.load_initial(config, "abc") is None  # random weights
    saved = save(tmp_path / "baseline.pt", config).state_dict()
    config = with_init(tmp_path, config)  # the folder of the file
    loaded = model_file.load_initial(config, "abc")
    assert loaded.keys() == saved.keys()
    assert all(torch.equal(loaded[key], saved[key]) for key in saved)
    output = capsys.readouterr().out
    assert output == f"training starts from {tmp_path / 'baseline.pt'}: all weights\n"
    for classes in ("ab", "acb", "xyz"):
        left_out = saved.keys() - model_file.load_initial(config, classes).keys()
        assert len(left_out) == 2  # weight and bias of the last convolution
        assert all(saved[key].shape[0] == 3 for key in left_out)
        assert f"the head, which is new for {len(classes)} classes" in capsys.readouterr().out


def test_initial_weights_that_do_not_fit_are_refused(tmp_path):
    path = tmp_path / "model.pt"
    with pytest.raises(FerError, match="no model here; name a model file such as models/fer2013"):
        model_file.load_initial(with_init(path), "abc")
    save(path, CONFIG.with_values({"model.width": 0.25}))
    with pytest.raises(FerError, match=r"holds compact of width 0\.25, but model is compact of wi"):
        model_file.load_initial(with_init(path), "abc")


def test_training_starts_from_the_initial_weights(faces, tmp_path):
    """A learning rate near zero changes only the statistics of BatchNorm."""
    config = CONFIG.with_values(
        {"train.lr": 1e-12, "train.input_sizes": [44], "train.batch_size": 16}
    )
    saved = dict(save(tmp_path / "model.pt", config).named_parameters())
    init = model_file.load_initial(with_init(tmp_path / "model.pt", config), faces.classes)
    trained, from_scratch = (
        fit(TrainingRun(config, faces, faces, 1, torch.device("cpu"), init=weights), quiet=True)[0]
        for weights in (init, None)
    )
    for name, parameter in trained.named_parameters():
        if name in init:
            torch.testing.assert_close(parameter, saved[name])
    # The random draws of the head are the same with and without initial weights.
    assert torch.equal(trained.head.bias, from_scratch.head.bias)
    assert not torch.equal(trained.layers[0].conv.weight, from_scratch.layers[0].conv.weight)


def test_initial_weights_have_their_share_of_the_result(faces, tmp_path):
    save(tmp_path / "model.pt", CONFIG)
    init = model_file.load_initial(with_init(tmp_path / "model.pt"), faces.classes)

    def train(share):
        config = CONFIG.with_values({"train.init_share": share, "train.batch_size": 16})
        run = TrainingRun(config, faces, faces, 1, torch.device("cpu"), init=init)
        return fit(run, quiet=True)[0].state_dict()

    trained, half, all_ = (train(share) for share in (0.0, 0.5, 1.0))
    for name, weights in init.items():
        if weights.is_floating_point():
            torch.testing.assert_close(all_[name], weights)
            torch.testing.assert_close(half[name], (trained[name] + weights) / 2)
    assert not torch.equal(trained["layers.0.conv.weight"], init["layers.0.conv.weight"])
