"""Disks and networks that fail: a clear line, or nothing happens at all."""

import re
import shutil
import subprocess
import sys

import pytest
from harness import SMALL, results, start, start_stage
from test_pipeline import new_project, update

pytestmark = pytest.mark.reliability

STAGES = ("sample", "prepare", "benchmark", "train", "tune", "quantize", "evaluate")
STAGES += ("report",)
FOLDERS = ("data", "models", "metrics", "plots", ".checkpoints", ".optuna", "wandb")


def can(*command):
    return subprocess.run(["unshare", *command, "true"], capture_output=True).returncode == 0


def assert_one_line(process, pattern):
    _, message = process.communicate()
    assert process.returncode == 1, message
    (line,) = [li for li in message.splitlines() if not li.startswith(("wandb: ", "warning: "))]
    assert line.startswith("error: ")
    assert re.search(pattern, line, re.IGNORECASE), line


@pytest.mark.skipif(not can("-rm"), reason="needs to mount file systems")
@pytest.mark.parametrize("name", STAGES)
def test_read_only_folder(project, name):
    mount = "mount --bind . . && cd $PWD && mount -o remount,ro,bind . && exec $0 -m stages.$1"
    inside = ("unshare", "-rm", "sh", "-c", mount, sys.executable, name)
    assert_one_line(start(project, *inside, DVC_ROOT=str(project)), "read-?only")


@pytest.mark.skipif(not can("-rm"), reason="needs to mount file systems")
@pytest.mark.parametrize("name", STAGES)
def test_full_disk(project, name):
    """Each folder on a file system of its own without a free byte."""
    for folder in FOLDERS:
        (project / folder).mkdir(exist_ok=True)
    keep = project.parent / "keep"
    shutil.copytree(project, keep, symlinks=True)
    fill = "mount -t tmpfs -o size=9m disk $f && cp -r $0/$f/. $f && cat /dev/zero > $f/fill"
    script = f"for f in {' '.join(FOLDERS)}; do {fill}; done 2>/dev/null; exec $1 -m stages.$2"
    inside = ("unshare", "-rm", "sh", "-c", script, str(keep), sys.executable, name)
    process = start(project, *inside, DVC_ROOT=str(project))
    assert_one_line(process, "No space left|disk is full|disk I/O")


@pytest.mark.skipif(not can("-rn"), reason="needs a network of its own")
def test_whole_pipeline_without_a_network(tmp_path):
    folder = new_project(tmp_path / "project", SMALL | {"settings": {"wandb": "offline"}})
    process = start(folder, "unshare", "-rn", "dvc", "repro")
    out, err = process.communicate()
    assert process.returncode == 0, out + err


@pytest.mark.parametrize(
    ("mode", "environment"),
    [
        ("online", {"WANDB_BASE_URL": "http://127.0.0.1:9", "WANDB_API_KEY": "a" * 40}),
        ("online", {"WANDB_API_KEY": "short"}),
        ("offline", {"WANDB_DIR": "/dev/null/here"}),
    ],
    ids=["unreachable", "a wrong key", "no folder"],
)
def test_failing_wandb_fails_no_training(project, mode, environment):
    update(project, {"settings": {"wandb": mode}})
    before = results(project, "train")
    process = start_stage(project, "train", **environment)
    _, message = process.communicate()
    assert process.returncode == 0, message
    assert "Traceback" not in message
    assert results(project, "train") == before
