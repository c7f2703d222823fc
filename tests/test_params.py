from functools import reduce
from operator import getitem
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from fer.core import params
from fer.core.errors import FerError
from scripts.adopt import update_file

PATH = Path(__file__).parents[1] / "params.yaml"


def change(tmp_path, changes):
    """Write params.yaml with other values, given by path."""
    yaml = YAML()
    data = yaml.load(PATH)
    for key, value in changes.items():
        *folders, last = key.split(".")
        reduce(getitem, folders, data)[last] = value
    yaml.dump(data, tmp_path / "params.yaml")
    return tmp_path / "params.yaml"


def test_numbers_are_read_as_dvc_reads_them(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text(PATH.read_text().replace("momentum: 0.9 ", "momentum: 1e-3 "))
    assert params.load(path).train.momentum == 0.001


@pytest.mark.parametrize(
    ("dataset", "trials", "expected"),
    [
        ("mine", 7, 7),  # a number alone holds for all
        ("mine", {"default": 3, "mine": 5}, 5),
        ("other", {"default": 3, "mine": 5}, 3),
        (2024, {"default": 3, 2024: 5}, 5),  # YAML reads such a name as a number
        ("other", {"default": 3, "small": 4}, 4),
        ("mine", {"default": 3, "small": 4, "mine": 5}, 5),
        ("mine", {"default": 3, "mine": 5, "mine-small": 6}, 6),
    ],
)
def test_value_is_that_of_the_data_set_and_size(tmp_path, dataset, trials, expected):
    changes = {"dataset": dataset, "size": "small", "tune.trials": trials}
    p = params.load(change(tmp_path, changes))
    assert (p.dataset, p.tune.trials) == (str(dataset), expected)
    assert p.model.width == 2


def test_large_is_several_networks(tmp_path):
    p = params.load(change(tmp_path, {"dataset": "fer2013", "size": "large"}))
    assert len(p.model.width) == len(p.train.init) == 3


def test_automatic_epochs_follow_from_the_number_of_faces(tmp_path):
    names = ("train.epochs", "tune.epochs", "tune.final_epochs")
    p = params.load(change(tmp_path, dict.fromkeys(names, "auto")))
    assert [p.train.epochs_for(faces) for faces in (1, 10_000, 10**6)] == [100, 60, 20]
    assert p.tune.epochs_for(60, 10_000) == (10, 12)
    assert p.tune.epochs_for(100, 1_000) == (16, 60)
    assert p.tune.epochs_for(100, 100) == (16, 100)
    assert p.tune.epochs_for(2, 10**6) == (1, 1)


@pytest.mark.parametrize(("faces", "trials"), [(40, 1), (700, 1), (800, 4), (28_000, 4)])
def test_search_is_off_where_no_gain_would_show(tmp_path, faces, trials):
    p = params.load(change(tmp_path, {"dataset": "mine"}))
    assert p.tune.trials_for(faces) == trials
    p = params.load(change(tmp_path, {"dataset": "mine", "tune.trials": 3}))
    assert p.tune.trials_for(faces) == 3


SEARCH = "tune.space"


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("train.lr", -1.0, "train.lr is -1.0: input should be greater than 0"),
        ("train.lr", "fast", "train.lr is 'fast': input should be a valid number"),
        ("train.lr", float("nan"), "train.lr is nan: input should be a finite number"),
        ("train.num_workers", True, "train.num_workers is True: input should be a valid integer"),
        ("train.optimizer", "adam", "train.optimizer is 'adam': input should be 'sgd' or 'adamw'"),
        ("model.name", "resnet", "model.name is 'resnet': input should be 'compact'"),
        ("train.speed", 3, "train.speed is 3: no such parameter; the names here are epochs,"),
        ("speed", 3, "speed is 3: no such parameter; the names here are dataset, size, settings"),
        (SEARCH, {"low": {"lo": 1}}, "low.lo is 1: no such parameter; the names here are low, hi"),
        ("benchmark.workers", [], "benchmark.workers is []: list should have at least 1 item"),
        ("prepare.split.val", 0.5, "prepare.split.val is 0.5: input should be less than 0.5"),
        ("dataset", "../x", "dataset is '../x': the name of a folder in data/raw"),
        ("dataset", "raw", "dataset is 'raw': the name of a folder in data/raw"),
        ("dataset", None, "dataset is None: input should be a valid string"),
        ("train.epochs", 0, "train.epochs is 0: a number from 1 to 1,000,000, or auto"),
        ("train.epochs", {"default": "all"}, "train.epochs is 'all': a number from 1 to"),
        ("train.epochs", {"default": 3, "sample": 0}, "train.epochs is 0: a number from 1 to"),
        ("tune.trials", {"default": 3, "sample": 0}, "tune.trials is 0: a number from 1 to"),
        (
            "tune.trials",
            {"sample": 3},
            "tune.trials is {'sample': 3}: a number from 1 to 1,000,000",
        ),
        ("train.input_sizes", [44, 24], "train.input_sizes ends with 24; the last size must be 44"),
        (SEARCH, {}, "tune.space is {}: dictionary should have at least 1 item"),
        (SEARCH, {"speed": {"low": 1, "high": 2}}, "tune.space.speed: cannot be searched; choose"),
        (SEARCH, {"augment": {"choices": [1]}}, "tune.space.augment: cannot be searched"),
        (SEARCH, {"train.lr": {"low": 2, "high": 1}}, "tune.space.train.lr has low 2 above high 1"),
        (SEARCH, {"train.lr": {"low": 1}}, "tune.space.train.lr needs low and high, or choices"),
        (SEARCH, {"train.lr": {"choices": []}}, "train.lr needs low and high, or choices"),
        (SEARCH, {"train.lr": {"choices": [1], "low": 1}}, "needs low and high, or choices"),
        (SEARCH, {"train.lr": {"low": -1, "high": 1}}, "tune.space.train.lr: train.lr is -1: inp"),
        (SEARCH, {"train.batch_size": {"low": 16, "high": 64.5}}, "64.5: input should be a valid"),
        (SEARCH, {"train.optimizer": {"choices": ["adam"]}}, "optimizer is 'adam': input should"),
        (SEARCH, {"train.optimizer": {"low": 1, "high": 2}}, "train.optimizer is 1: input should"),
        (SEARCH, {"train.average": {"low": 0.0, "high": 0.1, "log": True}}, "must be above 0"),
    ],
)
def test_mistake_names_key_value_and_what_is_allowed(tmp_path, key, value, message):
    with pytest.raises(FerError) as error:
        params.load(change(tmp_path, {key: value}))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_search_cannot_vary_the_network_that_initial_weights_are_of(tmp_path):
    changes = {"tune.space": {"model.width": {"low": 0.5, "high": 2.0}}}
    params.load(change(tmp_path, changes))
    changes["train.init"] = "models/fer2013/nano/baseline.pt"
    with pytest.raises(FerError, match=r"tune\.space\.model\.width: cannot be searched"):
        params.load(change(tmp_path, changes))


@pytest.mark.parametrize(
    "content",
    [
        *(None, b"", b"3", b"a: [", b"\t", b"train: 3", b"[" * 10_000),
        PATH.read_bytes() + b"\ndataset: sample\n",  # a key twice
        PATH.read_bytes() + b"\nk: !!python/object/apply:os.system [touch bad]\n",
        PATH.read_bytes() + b"\0",
        PATH.read_bytes() + "# café".encode("latin-1"),
        PATH.read_bytes().replace(b"batch_size: 128", b"batch_size: " + b"1" * 5000),
        PATH.read_bytes().replace(b"  optimizer:", b"  #"),
    ],
)
def test_file_that_is_no_params(tmp_path, monkeypatch, content):
    monkeypatch.chdir(tmp_path)
    if content is not None:
        Path("params.yaml").write_bytes(content)
    with pytest.raises(FerError, match=r"^params\.yaml: .") as error:
        params.load()
    assert "\n" not in str(error.value)
    assert not Path("bad").exists()


def test_update_changes_the_values_and_nothing_else(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text(PATH.read_text())
    values = {"train.lr": 0.0834, "train.batch_size": 128, "train.augment.rotation": 7.5}
    p = params.load(path)
    lines = update_file(path, values, p)
    assert lines == ["train.lr: 0.15 -> 0.0834", "train.augment.rotation: 5.0 -> 7.5"]
    before, after = PATH.read_text().splitlines(), path.read_text().splitlines()
    changed = [(a, b) for a, b in zip(before, after, strict=True) if a != b]
    assert [a.split(": ")[0].strip() for a, _ in changed] == ["lr", "rotation"]
    for a, b in changed:
        assert a.partition("#")[2] == b.partition("#")[2]
    assert params.load(path).config.get("train.augment.rotation") == 7.5
    assert params.load(path).train.lr == 0.0834
    assert update_file(path, values, params.load(path)) == []
