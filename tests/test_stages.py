"""Checks of dvc.yaml and of the stages: their dependencies, lock file, imports and signals."""

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import grimp
import pytest
from layouts import ROOT
from ruamel.yaml import YAML
from test_pipeline import run

from fer.core.params import Train

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
def test_stage_depends_on_its_script_and_the_rooms_that_it_uses(stage):
    name = f"stages.{stage}"
    imported = {file_of(module) for module in {name, *GRAPH.find_upstream_modules(name)}}
    imported -= {ROOT / "fer/__init__.py", ROOT / "stages/__init__.py"}
    code = {ROOT / dep for dep in STAGES[stage]["deps"] if dep.startswith(("fer/", "stages/"))}
    assert len(code) <= 5
    assert not [f for f in imported if not any(f == d or f.is_relative_to(d) for d in code)]
    assert not [d for d in code if not any(f == d or f.is_relative_to(d) for f in imported)]


def test_train_and_tune_read_the_same_configuration():
    names = [name for name in STAGES["tune"]["params"] if isinstance(name, str)]
    of_tune = {name.removeprefix("train.") for name in names if name.startswith("train.")}
    assert of_tune == set(Train.model_fields) - {"num_workers"}


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


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stop_is_one_line_and_leaves_no_process(number, status):
    code = "import stages, multiprocessing as m, time; m.Process(target=time.sleep, args=(99,))"
    code += ".start(); print(m.active_children()[0].pid, flush=True); time.sleep(99)"
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell starts what runs in the background without it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    child = int(process.stdout.readline())
    process.send_signal(number)
    _, stderr = process.communicate()
    assert process.returncode == status
    assert stderr == "stopped; give the same command again, and it goes on from here\n"
    assert not Path(f"/proc/{child}").exists() or "Z" in Path(f"/proc/{child}/stat").read_text()
