"""The whole pipeline as a user runs it: DVC, on a tiny sample, in a repository of its own."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from layouts import ROOT
from ruamel.yaml import YAML

from fer.core.params import load

SCORES = ("val_unseen_accuracy", "val_damaged_accuracy")
TINY = {
    "sample": {"train": 60, "val": 14, "test": 21},
    "benchmark": {"workers": [0, 1], "batch_size": 32, "epochs": 1},
    "train": {"batch_size": 16, "epochs": 2},
    "tune": {"trials": 3, "epochs": 2, "final_epochs": 2, "folds": 2},
    "quantize": {"calibration_faces": 20, "rounds": 1},
}
FILES = ("dvc.yaml", "params.yaml", ".gitignore", ".dvcignore", "data/raw/dvc.yaml")
FILES += ("data/raw/fer2013/README.md",)
CODE = shutil.ignore_patterns("__pycache__")


def run(folder, *command, **environment):
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path} | environment
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def update(folder, changes):
    yaml = YAML()
    data = yaml.load(folder / "params.yaml")
    for section, values in changes.items():
        if isinstance(values, dict):
            data[section].update(values)
        else:
            data[section] = values
    yaml.dump(data, folder / "params.yaml")


pytestmark = pytest.mark.slow


def new_project(folder, changes):
    """A repository with the pipeline, its params.yaml changed, without any result."""
    for name in ("stages", "fer", "scripts"):
        shutil.copytree(ROOT / name, folder / name, ignore=CODE)
    for name in FILES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    update(folder, changes)
    run(folder, "git", "init", "-q")
    run(folder, "dvc", "init", "-q")
    return folder


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = new_project(tmp_path_factory.mktemp("project"), TINY)
    result = run(folder, "dvc", "repro")
    assert result.returncode == 0, result.stdout + result.stderr
    return folder


@pytest.fixture
def params(project, tmp_path):
    """A copy of the project, to change."""
    return shutil.copytree(project, tmp_path / "copy", symlinks=True)


def test_writes_all_that_dvc_yaml_names_and_is_then_up_to_date(project):
    stages = YAML(typ="safe").load(project / "dvc.yaml")["stages"]
    for stage in stages.values():
        for out in stage["outs"]:
            path = next(iter(out)).replace("${item.dataset}", "sample")
            assert (project / path.replace("${item.size}", "nano")).exists()
    assert "Data and pipelines are up to date." in run(project, "dvc", "repro").stdout


def test_metrics_say_what_they_are_of(project):
    folder = project / "metrics/sample"
    timed = {path.stem for path in folder.glob("**/timings/*.json")}
    assert timed == {"prepare", "benchmark", "train", "tune", "quantize"}
    metrics = {
        p.stem: json.loads(p.read_text())
        for p in folder.rglob("*.json")
        if p.parent.name != "timings"
    }
    assert set(metrics) == {"prepare", "train", "tune", "quantize", "evaluate"}
    assert {m["dataset"] for m in metrics.values()} == {"sample"}
    train, tune, evaluate = (metrics[stage] for stage in ("train", "tune", "evaluate"))
    assert train["faces"] == {"train": 60, "val": 14, "val_unseen": 14}
    assert evaluate["faces"]["test"] == 21
    for model in ("baseline", "float32", "int8"):
        assert 0 <= evaluate[model]["single_view"]["accuracy"] <= 1
    headlines = json.loads((project / "metrics/scores/sample-nano.json").read_text())
    assert headlines["test"] == round(evaluate["float32"]["single_view"]["accuracy"], 4)
    speeds = json.loads((project / "metrics/speeds/sample-nano.json").read_text())
    assert speeds.keys() == {"ms_int8", "s_per_epoch"}
    assert tune["trials"] == {"complete": 3, "diverged": 0}
    baseline, other = tune["finals"]
    assert (baseline["trial"], len(baseline["fold_accuracy"])) == (0, 2)
    better = other["gain"] > other["margin_of_error"]
    assert tune["winner"]["trial"] == (other["trial"] if better else 0)
    assert better == ("after" in tune) == ("tuned" in evaluate)
    assert better == (project / "models/sample/nano/tuned/tuned.pt").exists()
    assert metrics["quantize"]["model"] == ("tuned" if better else "baseline")


def test_finished_search_is_not_repeated(params):
    result = run(params, "dvc", "repro", "-f", "-s", "tune@sample-nano")
    assert result.returncode == 0, result.stderr
    assert "going on after 3 finished trials" in result.stdout
    assert "\ntrial 0" not in result.stdout


def searched(project, winner):
    """As if trial 2 of the search had another learning rate, which won or not.

    Where it won, its full training is as accurate as the baseline's.
    """
    path = project / "metrics/sample/nano/tune.json"
    tune = json.loads(path.read_text())
    baseline = tune["finals"][0]
    noise = 0.01 if winner else 0.03
    trial = baseline | {"trial": 2, "gain": 0.02, "margin_of_error": noise}
    trial["params"] = baseline["params"] | {"train.lr": 0.123}
    tune["finals"] = [baseline, trial]
    tune["winner"] = {k: (trial if winner else baseline)[k] for k in ("trial", "params")}
    tune |= {"after": tune["before"]} if winner else {}
    path.write_text(json.dumps(tune))
    return trial["params"]


def test_adopt_writes_the_best_parameters(params):
    best = searched(params, winner=True)
    result = run(params, sys.executable, "-m", "scripts.adopt")
    assert result.returncode == 0, result.stderr
    config = load(params / "params.yaml").config
    assert {name: config.get(name) for name in best} == best
    again = run(params, sys.executable, "-m", "scripts.adopt")
    assert again.stdout == "params.yaml has the best parameters already\n"


@pytest.mark.parametrize(
    ("winner", "after", "status", "message"),
    [
        (False, 0.6, 0, "validation: +2.00% (margin of error: 3.00%); params.yaml stays"),
        (True, 0.5, 1, "trial 2 is not better on val (50.00%, the baseline 60.00%)"),
        (None, 0.6, 1, "error: metrics/sample/nano/tune.json: cannot be read"),
    ],
)
def test_adopt_leaves_params_where_nothing_is_better(params, winner, after, status, message):
    path = params / "metrics/sample/nano/tune.json"
    searched(params, winner)
    scores = {"before": 0.6, "after": after}
    changed = {name: dict.fromkeys(SCORES, value) for name, value in scores.items()}
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))
    if winner is None:
        path.unlink()
    before = (params / "params.yaml").read_text()
    result = run(params, sys.executable, "-m", "scripts.adopt")
    assert result.returncode == status
    assert message in result.stdout + result.stderr
    assert len((result.stdout + result.stderr).splitlines()) == 1
    assert (params / "params.yaml").read_text() == before


def test_workers_change_the_seconds_and_nothing_else(params):
    update(params, {"train": {"num_workers": 2}})
    status = run(params, "dvc", "status").stdout
    changed = {line.rstrip(":") for line in status.splitlines() if line and line[0] not in " \t"}
    assert changed == {"train@sample-nano"}
    model = params / "models/sample/nano/baseline.pt"
    before = model.read_bytes()
    result = run(params, "dvc", "repro")
    assert result.returncode == 0, result.stderr
    ran = [line for line in result.stdout.splitlines() if line.startswith("Running stage")]
    assert ran == ["Running stage 'train@sample-nano':", "Running stage 'report@sample-nano':"]
    assert model.read_bytes() == before


def test_settings_and_rooms_that_no_stage_uses_make_nothing_stale(params):
    update(params, {"settings": {"wandb": "disabled", "device": "cpu", "storage": "sqlite:///x"}})
    for file in ("serve/server.py", "video/reader.py", "cli/predict.py", "predict/recognizer.py"):
        with (params / "fer" / file).open("a") as code:
            code.write("# A comment.\n")
    assert "up to date" in run(params, "dvc", "status").stdout


def test_report_opens_without_internet_and_its_figures_are_there(project):
    page = (project / "plots/sample/nano/report.html").read_text()
    assert not re.findall(r"""(?:src|href)=["']?(?:https?:)?//""", page)
    figures = re.findall(r'src="([^"]+)"', page)
    plots = YAML(typ="safe").load(project / "dvc.yaml")["plots"]
    assert sorted(figures) == sorted(Path(entry).name for entry in plots if isinstance(entry, str))
    assert all((project / "plots/sample/nano" / figure).exists() for figure in figures)


def test_dvc_plots_need_no_internet(project):
    shutil.copytree(ROOT / ".dvc/plots", project / ".dvc/plots")
    run(project, "dvc", "config", "plots.html_template", "plots/page.html")
    result = run(project, "dvc", "plots", "show")
    assert result.returncode == 0, result.stderr
    page = (project / "dvc_plots/index.html").read_text()
    assert page.count("vegaEmbed(") > 10
    assert '<script src="../plots/vega.js">' in page
    assert len((project / "plots/vega.js").read_text()) > 100_000


@pytest.mark.parametrize("command", [("metrics", "show"), ("metrics", "diff"), ("exp", "show")])
def test_tables_of_dvc_fit_a_screen(project, command):
    run(project, "git", "add", "-A")
    identity = ("-c", "user.name=fer", "-c", "user.email=fer@example.org")
    run(project, "git", *identity, "commit", "-qm", "first")
    options = ("--only-changed",) if command[0] == "exp" else ()
    result = run(project, "dvc", *command, *options)
    assert result.returncode == 0, result.stderr
    assert max(map(len, result.stdout.splitlines()), default=0) <= 120, result.stdout


def test_only_evaluate_reads_the_test_split(project):
    stages = YAML(typ="safe").load(project / "dvc.lock")["stages"]
    readers = [
        name
        for name, stage in stages.items()
        if any(d["path"] == "data/sample/test" for d in stage.get("deps", []))
    ]
    assert readers == ["evaluate@sample-nano"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train": {"lr": -1}}, "error: params.yaml: train.lr is -1: input should be greater"),
        (
            {"train": {"speed": 1}},
            "error: params.yaml: train.speed is 1: no such parameter; the names here are epochs, ",
        ),
        (
            {
                "settings": {"storage": "postgresql+psycopg://fer:secret@127.0.0.1:1/fer"},
                "tune": {"seed": 1},
            },
            "error: settings.storage is postgresql+psycopg://fer:***@127.0.0.1:1/fer, which",
        ),
        (
            {"dataset": "fer2013"},
            "error: data/raw/fer2013 holds no data: put a folder of pictures",
        ),
    ],
)
def test_mistake_is_one_line_and_leaves_the_outputs(params, changes, message):
    def outputs():
        actual = [*params.glob("models/**/*.pt"), *params.glob("metrics/**/*.json")]
        return {path: path.read_bytes() for path in actual}

    before = outputs()
    update(params, changes)
    result = run(params, "dvc", "repro")
    assert result.returncode != 0
    lines = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert lines[0].startswith(message)
    assert "Traceback" not in result.stderr
    assert outputs() == before
