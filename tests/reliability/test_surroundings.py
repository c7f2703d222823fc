"""Disks, networks, processes and signals that fail: a clear line, or nothing happens at all."""

import csv
import glob
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from harness import SMALL, leftovers, results, start
from test_pipeline import new_project, update

pytestmark = pytest.mark.reliability

STAGES = ("sample", "prepare", "benchmark", "teach", "train", "tune", "quantize", "evaluate")
STAGES += ("report",)
FOLDERS = ("data", "models", "metrics", "plots", ".checkpoints", ".optuna", "wandb")
CLOCK = next(iter(glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1")), None)


def can(*command):
    return subprocess.run(["unshare", *command, "true"], capture_output=True).returncode == 0


def stage(folder, name, *before, **environment):
    command = (*before, sys.executable, "-m", f"stages.{name}")
    return start(folder, *command, DVC_ROOT=str(folder), **environment)


def errors(text):
    return [line for line in text.splitlines() if not line.startswith(("wandb: ", "warning: "))]


@pytest.mark.skipif(not can("-rm"), reason="needs to mount file systems")
@pytest.mark.parametrize("name", STAGES)
def test_read_only_folder(project, name):
    mount = "mount --bind . . && cd $PWD && mount -o remount,ro,bind . && exec $0 -m stages.$1"
    inside = ("unshare", "-rm", "sh", "-c", mount, sys.executable, name)
    process = start(project, *inside, DVC_ROOT=str(project))
    _, message = process.communicate()
    assert process.returncode == 1, message
    (line,) = errors(message)
    assert line.startswith("error: ")
    assert re.search("read-?only", line, re.IGNORECASE), line


@pytest.mark.skipif(not can("-rm"), reason="needs to mount file systems")
@pytest.mark.parametrize("name", STAGES)
def test_full_disk(project, name):
    """Each folder on a file system of its own without a free byte; what was there stays."""
    for folder in FOLDERS:
        (project / folder).mkdir(exist_ok=True)
    keep = project.parent / "keep"
    shutil.copytree(project, keep, symlinks=True)
    fill = "mount -t tmpfs -o size=2500k disk $f && cp -r $0/$f/. $f && cat /dev/zero > $f/fill"
    script = f"for f in {' '.join(FOLDERS)}; do {fill}; done 2>/dev/null; exec $1 -m stages.$2"
    inside = ("unshare", "-rm", "sh", "-c", script, str(keep), sys.executable, name)
    process = start(project, *inside, DVC_ROOT=str(project))
    _, message = process.communicate()
    assert process.returncode == 1, message
    (line,) = errors(message)
    assert line.startswith("error: ")
    assert re.search("No space left|disk is full|disk I/O", line), line


@pytest.mark.parametrize("name", STAGES)
def test_stop_at_any_moment(project, name):
    """Also while the stage imports. At the very end, when all is written, it ends as it would."""
    shutil.rmtree(project / ".optuna")
    begun = time.monotonic()
    stage(project, name).communicate()
    seconds = time.monotonic() - begun
    whole = results(project, name)
    moments = random.Random(name)
    for number in (signal.SIGINT, signal.SIGTERM) * 2:
        shutil.rmtree(project / ".optuna", ignore_errors=True)
        process = stage(project, name)
        time.sleep(0.2 + moments.uniform(0, 0.8 * seconds))
        if process.poll() is not None:
            continue  # faster than the first time
        begun = time.monotonic()
        os.killpg(process.pid, number)
        _, message = process.communicate()
        assert time.monotonic() - begun < 2, message
        if process.returncode == 0:
            assert not message
            assert results(project, name) == whole
            continue
        (line,) = message.splitlines()
        assert line == "stopped; give the same command again, and it goes on from here"
    process = stage(project, name)
    _, message = process.communicate()
    assert process.returncode == 0, message
    assert not leftovers(project)


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
def test_tracker_that_fails_fails_no_training(project, mode, environment):
    update(project, {"settings": {"wandb": mode}})
    before = results(project, "train")
    process = stage(project, "train", **environment)
    _, message = process.communicate()
    assert process.returncode == 0, message
    assert "Traceback" not in message
    assert results(project, "train") == before


def test_worker_that_dies(project):
    changes = {"train": {"num_workers": 1}, "budget": {"sample": endless()}}
    update(project, changes | {"settings": {"wandb": "disabled"}})
    process = stage(project, "train")
    assert process.stdout.readline()  # an epoch
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
    for child in children.split():
        os.kill(int(child), signal.SIGKILL)
    _, message = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "error: train.num_workers is 1: a worker died" in message
    assert "Traceback" not in message


def endless():
    return SMALL["budget"]["sample"] | {"epochs": 10_000}


def test_two_at_once(project):
    update(project, {"train": {"seed": 5}})
    both = [start(project, "dvc", "repro", "train@sample") for _ in range(2)]
    message = [process.communicate() for process in both]
    assert 0 in [process.returncode for process in both], message
    for process, (out, err) in zip(both, message, strict=True):
        assert process.returncode == 0 or "lock" in out + err
        assert "Traceback" not in out + err
    again = start(project, "dvc", "repro", "train@sample")
    assert again.wait() == 0
    assert not leftovers(project)


def test_twice_gives_the_same_bits(project):
    before = {name: results(project, name) for name in STAGES}
    process = start(project, "dvc", "repro", "--force")
    out, err = process.communicate()
    assert process.returncode == 0, out + err
    assert {name: results(project, name) for name in STAGES} == before


@pytest.mark.skipif(not CLOCK, reason="needs libfaketime (Debian: apt-get install faketime)")
@pytest.mark.parametrize("name", ["prepare", "train", "tune"])
def test_clock_that_jumps(project, name):
    """By up to a month there and back, several times a second, for the database too."""
    shutil.rmtree(project / ".optuna")
    before, jump, draw = results(project, name), project / "jump", random.Random(name)
    jump.write_text("+0")
    fake = {"FAKETIME_TIMESTAMP_FILE": str(jump), "FAKETIME_NO_CACHE": "1"}
    fake |= {"LD_PRELOAD": CLOCK, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    begun = time.monotonic()
    process = stage(project, name, **fake)
    while process.poll() is None:
        time.sleep(0.2)
        (project / "next").write_text(f"{draw.randint(-30, 30):+}d")
        (project / "next").rename(jump)
    _, message = process.communicate()
    assert process.returncode == 0, message
    assert results(project, name) == before
    with (project / "plots/sample/seconds.csv").open() as file:
        seconds = [float(v) for row in csv.DictReader(file) for k, v in row.items() if k != "epoch"]
    assert 0 <= min(seconds) <= sum(seconds)
    assert name != "train" or sum(seconds) < time.monotonic() - begun


LOCKS = {
    "the first stages": lambda content: content.partition(b"prepare@sample")[0],
    "nothing": lambda content: b"",
    "text": lambda content: b"hello\n",
    "a NUL": lambda content: content[:200] + b"\0" + content[201:],
    "a conflict of git": lambda content: b"<<<<<<< HEAD\n" + content,
    "another digest": lambda content: content.replace(b"md5: ", b"md5: f", 1),
}


@pytest.mark.parametrize("spoil", LOCKS.values(), ids=LOCKS)
def test_damaged_lock_is_named_or_its_stages_run_again(project, spoil):
    lock, before = project / "dvc.lock", results(project, "prepare")
    content = lock.read_bytes()
    lock.write_bytes(spoil(content))
    process = start(project, "dvc", "repro", "prepare@sample")
    out, message = process.communicate()
    assert results(project, "prepare") == before
    assert "Traceback" not in message
    if process.returncode:
        assert "dvc.lock'" in message, message
        lock.unlink()
        again = start(project, "dvc", "repro", "prepare@sample")
        assert again.wait() == 0
        assert results(project, "prepare") == before
    else:
        assert "Running stage" in out
