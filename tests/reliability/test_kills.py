"""kill -9 at any moment: the next `dvc repro` goes on, and ends with the same bits.

It needs help only where the kill hit DVC while it wrote a file of its own, which is not atomic: DVC
names the file.
"""

import os
import random
import re
import shutil
import signal
import time

import pytest
from harness import leftovers, results, start
from test_pipeline import update
from test_user_data import git

pytestmark = pytest.mark.reliability

KILLS = 20
VARIED = {
    "prepare": "seed",
    "train": "seed",
    "tune": "seed",
    "quantize": "seed",
    "evaluate": "examples_seed",
}
"""By which parameter each stage is made to run anew: by turns one of two values."""


def repro(folder, stage, lock=b""):
    """What `dvc repro` says, and its seconds.

    lock: dvc.lock as it was before a kill, and as `git checkout dvc.lock` would have it
    """
    begun = time.monotonic()
    process = start(folder, "dvc", "repro", f"{stage}@sample")
    out, err = process.communicate()
    helped = True
    if "Unable to read RWLock-file '.dvc/tmp/rwlock'" in err:
        (folder / ".dvc/tmp/rwlock").unlink()
    elif "'./dvc.lock' validation failed" in err or "'./dvc.lock' is invalid" in err:
        (folder / "dvc.lock").write_bytes(lock)
    else:
        helped = False
    if helped:
        process = start(folder, "dvc", "repro", f"{stage}@sample")
        out, err = process.communicate()
    assert process.returncode == 0, out + err
    return out, time.monotonic() - begun


def begin_anew(folder, stage, value):
    update(folder, {stage: {VARIED[stage]: value}})
    shutil.rmtree(folder / ".optuna", ignore_errors=True)


@pytest.mark.parametrize("stage", VARIED)
def test_killed_stage_ends_with_the_same_bits(project, stage):
    undisturbed, seconds = {}, {}
    for value in (1, 2):
        begin_anew(project, stage, value)
        _, seconds[value] = repro(project, stage)
        undisturbed[value] = results(project, stage)
    assert undisturbed[1] != undisturbed[2]
    moments = random.Random(stage)
    for kill in range(KILLS):
        value = 1 + kill % 2
        begin_anew(project, stage, value)
        lock = (project / "dvc.lock").read_bytes()
        process = start(project, "dvc", "repro", f"{stage}@sample")
        moment = moments.uniform(0, min(seconds.values()))
        time.sleep(moment)
        os.killpg(process.pid, signal.SIGKILL)
        before, _ = process.communicate()
        after, _ = repro(project, stage, lock)
        message = f"{stage}, kill {kill} after {moment:.2f} s:\n{before}\n---\n{after}"
        assert results(project, stage) == undisturbed[value], message
        assert not leftovers(project), message
        # The checkpoint goes with the stage's last step, and then nothing is left to be done but
        # DVC's own notes.
        epochs = re.findall(r"^epoch (\d+)/5", before, re.MULTILINE)
        if epochs and epochs[-1] != "5":
            assert int(re.search(r"going on after epoch (\d+)", after)[1]) >= int(epochs[-1]), (
                message
            )
        trials = re.findall(r"^trial (\d+) of", before, re.MULTILINE)
        assert not set(trials) & set(re.findall(r"^trial (\d+) of", after, re.MULTILINE)), message


def dvc(folder, *command):
    process = start(folder, "dvc", *command)
    out, err = process.communicate()
    assert process.returncode == 0, out + err
    return out


def start_queue(folder):
    """Not `communicate`: the worker keeps the pipes open, as long as it lives."""
    assert start(folder, "dvc", "queue", "start").wait() == 0


def until(done):
    end = time.monotonic() + 300
    while not done():
        assert time.monotonic() < end
        time.sleep(0.1)


def test_killed_queue_goes_on(project):
    """With all its processes, as when the power fails: no other experiment is lost."""
    options = ("--queue", "train@sample", "-S")
    git(project, "add", "-A")
    git(project, "commit", "-qm", "first")
    dvc(project, "exp", "run", "-n", "one", *options, "train.seed=1")
    dvc(project, "exp", "run", "-n", "two", *options, "train.seed=2")
    start_queue(project)
    until(lambda: list(project.glob(".checkpoints/*.ckpt")))
    (file,) = project.glob(".dvc/tmp/exps/run/*/*.pid")
    os.killpg(os.getpgid(int(file.read_text())), signal.SIGKILL)
    dvc(project, "queue", "kill", "one")  # DVC itself takes it to be running still
    dvc(project, "exp", "run", "-n", "one", *options, "train.seed=1")
    start_queue(project)
    until(lambda: dvc(project, "queue", "status").count("Success") == 2)
    logs = [path.read_text() for path in project.glob(".dvc/tmp/exps/run/*/*.out")]
    assert len([log for log in logs if "going on after epoch" in log]) == 1, logs
    actual = {}
    for name in ("two", "one"):
        git(project, "checkout", "-q", ".")
        dvc(project, "exp", "apply", name)
        actual[name] = results(project, "train")
    assert actual["one"] != actual["two"]
    dvc(project, "repro", "--force", "--single-item", "train@sample")
    assert results(project, "train") == actual["one"]
