from functools import reduce
from operator import getitem
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from fer.core import params
from fer.core.errors import FerError

PATH = Path(__file__).parents[1] / "params.yaml"


def change(tmp_path, key, value, removed=None):
    """Write params.yaml with another value for a key, and without another key of its section."""
    yaml = YAML()
    data = yaml.load(PATH)
    *folders, last = key.split(".")
    section = reduce(getitem, folders, data)
    section.pop(removed, None)
    section[last] = value
    yaml.dump(data, tmp_path / "params.yaml")
    return tmp_path / "params.yaml"


def test_committed_params_are_valid():
    assert params.load(PATH).budget_for(1000).epochs > 0


def test_data_set_may_have_a_number_for_a_name(tmp_path):
    assert params.load(change(tmp_path, "dataset", 2024)).dataset == "2024"


def test_numbers_are_read_as_dvc_reads_them(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text(PATH.read_text().replace("lr: 0.15 ", "lr: 1e-3 "))
    assert params.load(path).train.lr == 0.001


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("train.lr", -1.0, "train.lr is -1.0: input should be greater than 0"),
        ("train.lr", "fast", "train.lr is 'fast': input should be a valid number"),
        ("train.lr", float("nan"), "train.lr is nan: input should be a finite number"),
        ("train.num_workers", True, "train.num_workers is True: input should be a valid integer"),
        ("train.optimizer", "adam", "train.optimizer is 'adam': input should be 'sgd' or 'adamw'"),
        ("train.augment.flip", 1.5, "train.augment.flip is 1.5: input should be less than"),
        (
            "model.name",
            "resnet",
            "model.name is 'resnet': input should be 'compact', 'deep', 'mini-x",
        ),
        ("teach.model.name", "resnet", "teach.model.name is 'resnet': input should be 'compact'"),
        ("teach.train.distill", {"weight": 0.5}, "a teacher has no teacher; remove this section"),
        ("train.speed", 3, "train.speed is 3: no such parameter; train has batch_size, optimizer"),
        ("speed", 3, "speed is 3: no such parameter; the file has dataset, settings"),
        ("budget.sample.hours", 3, "no such parameter; budget.sample has epochs"),
        ("benchmark.workers", [], "benchmark.workers is []: list should have at least 1 item"),
        ("benchmark.workers", [2, 2], "benchmark has workers [2, 2]; list each number once"),
        ("prepare.split.val", 1.0, "prepare.split.val is 1.0: input should be less than 1"),
        ("prepare.split", {"val": 0.5, "test": 0.5}, "nothing is left for train; lower them"),
        ("dataset", "../x", "dataset is '../x': the name of a folder in data/raw"),
        ("dataset", "raw", "dataset is 'raw', a reserved name; rename the folder"),
        ("budget.sample.epochs", 0, "budget.sample.epochs is 0: a number from 1 to"),
        ("budget.default.epochs", "all", "budget.default.epochs is 'all': a number from 1 to"),
        ("budget.default.hours", 3, "budget.default.hours is 3: no such parameter"),
        ("budget", {"sample": {}}, "budget has no section default"),
        (
            "teach.train.init",
            "models/x.pt",
            "teach.train.init: the teacher starts from random weights; remove",
        ),
        ("budget.sample.search.trials", 0, "budget.sample.search.trials is 0: input should be"),
        ("tune.space", {}, "tune.space is empty: name the parameters to search"),
        (
            "tune.space",
            {"speed": {"low": 1, "high": 2}},
            "tune.space.speed: cannot be searched; choose among model.name, model.width, train",
        ),
        (
            "tune.space",
            {"augment": {"choices": [1]}},
            "tune.space.augment: cannot be searched",
        ),
        (
            "tune.space",
            {"train.lr": {"low": 2, "high": 1}},
            "tune.space.train.lr has low 2 above high 1",
        ),
        (
            "tune.space",
            {"train.lr": {"low": 0, "high": 1, "log": True}},
            "with log, it must be above 0",
        ),
        (
            "tune.space",
            {"train.lr": {"low": 1}},
            "tune.space.train.lr needs low and high, or choices",
        ),
        ("tune.space", {"train.lr": {"choices": []}}, "tune.space.train.lr has no choices"),
        (
            "tune.space",
            {"train.lr": {"choices": [1], "low": 1}},
            "tune.space.train.lr has choices; remove low, high and log",
        ),
        (
            "tune.space",
            {"train.lr": {"low": -1, "high": 1}},
            "tune.space.train.lr: train.lr is -1: input",
        ),
        (
            "tune.space",
            {"train.batch_size": {"low": 16, "high": 64.5}},
            "train.batch_size: train.batch_size is 64.5: input should be a valid integer",
        ),
        (
            "tune.space",
            {"train.optimizer": {"choices": ["adam"]}},
            "train.optimizer: train.optimizer is 'adam': input should be 'sgd'",
        ),
        (
            "tune.space",
            {"train.optimizer": {"low": 1, "high": 2}},
            "tune.space.train.optimizer: needs choices",
        ),
        ("train.input_sizes", [44, 24], "train.input_sizes ends with 24; the last size must be 44"),
        (
            "quantize.max_accuracy_drop",
            -0.1,
            "quantize.max_accuracy_drop is -0.1: input should be greater",
        ),
        (
            "quantize.calibration_method",
            "kl",
            "quantize.calibration_method is 'kl': input should be 'minmax'",
        ),
    ],
)
def test_mistake_names_key_value_and_what_is_allowed(tmp_path, key, value, message):
    with pytest.raises(FerError) as error:
        params.load(change(tmp_path, key, value))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["", "3", "a: [", "\t", "train: 3"])
def test_file_that_is_no_params(tmp_path, text):
    path = tmp_path / "params.yaml"
    path.write_text(text)
    with pytest.raises(FerError, match=r"params\.yaml: ") as error:
        params.load(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("train.refine", "train.qat_epochs"),
        ("train.sizes", "train.input_sizes"),
        ("teach.train.sizes", "teach.train.input_sizes"),
        ("quantize.calibration", "quantize.calibration_method"),
        ("quantize.faces", "quantize.calibration_faces"),
        ("quantize.max_loss", "quantize.max_accuracy_drop"),
        ("evaluate.shown_seed", "evaluate.examples_seed"),
        ("budget.default.timings.loaders", "budget.default.timings.loader_epochs"),
        ("budget.sample.timings.runtimes", "budget.sample.timings.runtime_rounds"),
        ("budget.default.search.seeds", "budget.default.search.folds"),
    ],
)
def test_old_name_of_a_parameter_gives_the_new_one_in_one_line(tmp_path, old, new):
    path = change(tmp_path, old, 1, removed=new.rpartition(".")[2])
    with pytest.raises(FerError) as error:
        params.load(path)
    assert str(error.value) == f"{path}: {old} is now called {new}; rename it"


def test_missing_file(tmp_path):
    with pytest.raises(FerError, match="cannot be read"):
        params.load(tmp_path / "params.yaml")


def test_log_scale_needs_a_baseline_above_0(tmp_path):
    path = change(tmp_path, "train.label_smoothing", 0.0)
    text = path.read_text().replace("high: 0.15}", "high: 0.15, log: true}")
    path.write_text(text.replace("label_smoothing: {low: 0.0,", "label_smoothing: {low: 0.01,"))
    with pytest.raises(FerError, match=r"has log, but train\.label_smoothing is 0"):
        params.load(path)


def test_update_changes_the_values_and_nothing_else(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text(PATH.read_text())
    values = {"train.lr": 0.0834, "train.batch_size": 128, "train.augment.rotation": 7.5}
    lines = params.update_file(path, values)
    assert lines == ["train.lr: 0.15 -> 0.0834", "train.augment.rotation: 3.0 -> 7.5"]
    before, after = PATH.read_text().splitlines(), path.read_text().splitlines()
    changed = [(a, b) for a, b in zip(before, after, strict=True) if a != b]
    assert [a.split(": ")[0].strip() for a, _ in changed] == ["lr", "rotation"]
    for a, b in changed:
        assert a.partition("#")[2] == b.partition("#")[2]
    assert params.load(path).config.get("train.augment.rotation") == 7.5
    assert params.update_file(path, values) == []


def test_update_writes_what_the_file_left_to_its_default(tmp_path):
    path = tmp_path / "params.yaml"
    text = PATH.read_text()
    path.write_text("".join(li for li in text.splitlines(True) if "rotation:" not in li[:14]))
    assert params.update_file(path, {"train.augment.rotation": 7.5}) == [
        "train.augment.rotation: its default -> 7.5"
    ]
    assert params.load(path).config.get("train.augment.rotation") == 7.5


def budget(tmp_path, dataset, faces, **sections):
    yaml = YAML()
    data = yaml.load(PATH)
    data["dataset"] = dataset
    for name, section in sections.items():
        data["budget"][name] = section
    yaml.dump(data, tmp_path / "params.yaml")
    return params.load(tmp_path / "params.yaml").budget_for(faces)


def test_budget_of_a_data_set_without_a_section_follows_from_its_size(tmp_path):
    epochs = [budget(tmp_path, "mine", faces).epochs for faces in (1, 300, 10_000, 10**6)]
    assert epochs == [100, 100, 60, 20]
    assert budget(tmp_path, "mine", 10_000).search.epochs == 10
    assert budget(tmp_path, "mine", 10_000).search.final_epochs == 12


def test_budget_of_a_section_differs_only_where_it_says_so(tmp_path):
    own = budget(tmp_path, "mine", 300, mine={"epochs": 2, "search": {"trials": 9}})
    default = budget(tmp_path, "other", 300)
    assert (own.epochs, own.search.trials, own.search.epochs) == (2, 9, 1)
    assert own.timings == default.timings
    assert own.search.folds == default.search.folds


def test_error_of_the_default_budget_appears_once(tmp_path):
    path = change(tmp_path, "budget.default.teacher_epochs", -1)
    with pytest.raises(FerError) as error:
        params.load(path)
    assert str(error.value).count("teacher_epochs") == 1


def test_written_budget_is_read_back(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FerError, match="run `dvc repro budget`"):
        params.load_budget("mine")
    own = budget(tmp_path, "mine", 300)
    params.save_budget(tmp_path / "metrics/mine/budget.yaml", own)
    assert params.load_budget("mine") == own
    (tmp_path / "metrics/mine/budget.yaml").write_text("epochs: many")
    with pytest.raises(FerError, match="cannot be read") as error:
        params.load_budget("mine")
    assert "\n" not in str(error.value)


def test_search_cannot_vary_the_network_that_initial_weights_are_of(tmp_path):
    path = change(tmp_path, "train.init", "models/fer2013/baseline.pt")
    params.load(path)
    yaml = YAML()
    data = yaml.load(path)
    data["tune"]["space"]["model.width"] = {"low": 0.5, "high": 2.0}
    yaml.dump(data, path)
    with pytest.raises(FerError, match=r"tune\.space\.model\.width: cannot vary"):
        params.load(path)
