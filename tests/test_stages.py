"""Checks of dvc.yaml and of the stages: their dependencies, lock file, imports and signals."""

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import grimp
import pytest
from ruamel.yaml import YAML
from test_pipeline import run

from fer.core.params import Train, load

ROOT = Path(__file__).parents[1]
STAGES = {
    name: stage
    for path in (ROOT / "dvc.yaml", ROOT / "data/raw/dvc.yaml")
    for name, stage in YAML(typ="safe").load(path)["stages"].items()
}
GRAPH = grimp.build_graph("fer", "stages", cache_dir=None)


def file_of(module):
    path = ROOT / module.replace(".", "/")
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


@pytest.mark.parametrize("stage", STAGES)
def test_stage_depends_on_all_code_that_it_imports_and_on_no_other(stage):
    name = f"stages.{stage}"
    imported = {name, *GRAPH.find_upstream_modules(name)}
    # A package's __init__ runs as well.
    imported |= {m.rpartition(".")[0] for m in imported if m.count(".") > 1} | {"fer", "stages"}
    files = {file_of(module) for module in imported}
    code = {ROOT / dep for dep in STAGES[stage]["deps"] if dep.startswith(("fer/", "stages/"))}
    missing = [f for f in files if not any(f == dep or f.is_relative_to(dep) for dep in code)]
    assert not missing
    unused = [dep for dep in code if not any(f == dep or f.is_relative_to(dep) for f in files)]
    assert not unused


def test_train_and_tune_read_the_same_configuration():
    names = [name for name in STAGES["tune"]["params"] if isinstance(name, str)]
    of_tune = {name.removeprefix("train.") for name in names if name.startswith("train.")}
    assert of_tune == set(Train.model_fields) - {"num_workers"}


def test_no_stage_depends_on_the_settings():
    assert not [s for s, stage in STAGES.items() if "settings" in str(stage.get("params", []))]


def test_stages_have_no_function_but_main():
    for path in (ROOT / "stages").glob("*.py"):
        assert set(re.findall(r"^ *(?:def|class) (\w+)", path.read_text(), re.MULTILINE)) <= {
            "main"
        }


def test_lock_is_of_the_code():
    status = json.loads(run(ROOT, "dvc", "status", "--json").stdout)
    changes = [change for stage in status.values() for change in stage if isinstance(change, dict)]
    changed = {path for change in changes for path in change.get("changed deps", {})}
    stale = {path for path in changed if path.startswith(("fer", "stages", "params.yaml"))}
    assert not stale, "run dvc repro, and commit dvc.lock and data/raw/dvc.lock"


def test_params_yaml_is_valid():
    load(ROOT / "params.yaml")


def test_stop_whose_exception_is_dropped_is_one_all_the_same():
    code = """
import stages, contextlib, os, signal
from fer.core.errors import exit_on_error
def main():
    with contextlib.suppress(KeyboardInterrupt):  # as some C code does
        os.kill(os.getpid(), signal.SIGTERM)
exit_on_error(main)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode != 0
    assert result.stderr.startswith("stopped; ")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stop_when_all_is_done_is_ignored(number):
    """In what libraries have to clear up, which here is a second of sleep."""
    code = "import stages, atexit, time; from fer.core.errors import exit_on_error as run; "
    code += "run(lambda: (atexit.register(time.sleep, 1), print(flush=True)))"
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell starts what runs in the background without it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    process.stdout.readline()
    time.sleep(0.3)
    process.send_signal(number)
    _, stderr = process.communicate()
    assert (process.returncode, stderr) == (0, "")
