"""No command of DVC or git ever deletes or changes what a user brought.

With the committed dvc.lock, whose FER2013 is another than the user's.
"""

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from layouts import contents, two_classes
from test_pipeline import ROOT, TINY, run, update

from fer.cli import main, train
from fer.core import faces

pytestmark = pytest.mark.slow

FIRST_STAGES = ("prepare",)
COMMITTED = ("dvc.yaml", "dvc.lock", "params.yaml", ".gitignore", ".dvcignore", "README.md")
COMMITTED += ("data/raw/dvc.yaml", "data/raw/dvc.lock", "data/raw/fer2013/README.md")


def git(folder, *command):
    identity = ("-c", "user.name=fer", "-c", "user.email=fer@example.org")
    done = run(folder, "git", *identity, *command)
    assert done.returncode == 0, done.stderr
    return done.stdout


def dvc(folder, *command, fails=False):
    done = run(folder, "dvc", *command)
    assert (done.returncode != 0) == fails, done.stdout + done.stderr
    return done.stdout + done.stderr


def apply(folder, name):
    """Apply an experiment of the first stage; DVC misses what later stages would have written."""
    assert "Checkout failed" in dvc(folder, "exp", "apply", name, fails=True)


def csv(seed, count):
    """A CSV in Kaggle's format, of noise."""
    generator = np.random.default_rng(seed)
    rows = ["emotion,pixels,Usage"]
    for usage, share in (("Training", 8), ("PublicTest", 1), ("PrivateTest", 1)):
        for label in list(range(7)) * (share * count // 70):
            pixels = " ".join(map(str, generator.integers(0, 256, 48 * 48)))
            rows.append(f"{label},{pixels},{usage}")
    return "\n".join(rows).encode()


@pytest.fixture
def clone(tmp_path):
    """The project in a repository of its own, with a second commit, and a user's CSV in it."""
    folder = tmp_path / "clone"
    folder.mkdir()
    for name in ("stages", "fer", "scripts", "models", "metrics", "plots", ".dvc"):
        ignored = shutil.ignore_patterns("__pycache__", "cache", "tmp", "*.ckpt", "config.local")
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    (folder / "data/raw/fer2013").mkdir(parents=True)
    for name in COMMITTED:
        shutil.copy(ROOT / name, folder / name)
    update(folder, TINY | {"settings": {"wandb": "disabled"}})
    git(folder, "init", "-q")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "first")
    (folder / "README.md").write_text("another commit\n")
    git(folder, "commit", "-qam", "second")
    return folder


@pytest.fixture
def users(clone):
    """The clone with a user's CSV; afterwards, its bytes stand where they stood."""
    content = csv(seed=1, count=140)
    path = clone / "data/raw/fer2013/mine.csv"
    path.write_bytes(content)
    yield clone
    assert path.read_bytes() == content
    assert not path.is_symlink()


def switch(folder):
    path = folder / "params.yaml"
    path.write_text(path.read_text().replace("dataset: sample", "dataset: fer2013"))


def images(folder):
    """The first face of the training split that `prepare` wrote."""
    return faces.load(folder / "data/fer2013/train").images[0]


FIRST = np.random.default_rng(1).integers(0, 256, 48 * 48).reshape(48, 48)


def test_repro_reads_it_and_what_it_was_changed_to(clone):
    path = clone / "data/raw/fer2013/mine.csv"
    path.write_bytes(csv(seed=1, count=140))
    switch(clone)
    message = dvc(clone, "repro", *FIRST_STAGES)
    assert "Running stage 'prepare@fer2013'" in message
    assert "reading data/raw/fer2013/mine.csv" in message
    assert (images(clone) == FIRST).all()
    assert "up to date" in dvc(clone, "repro", *FIRST_STAGES)

    changed = csv(seed=2, count=140)
    path.write_bytes(changed)
    dvc(clone, "repro", *FIRST_STAGES)
    assert not (images(clone) == FIRST).all()
    assert path.read_bytes() == changed


def test_experiment_and_every_checkout_leave_it(users):
    dvc(users, "exp", "run", "-n", "mine", "-S", "dataset=fer2013", *FIRST_STAGES)
    assert (images(users) == FIRST).all()
    lines = git(users, "diff", "-U0", "params.yaml").splitlines()
    changed = [line for line in lines if re.match(r"[-+]\w", line)]
    assert [line[:17] for line in changed] == ["-dataset: sample ", "+dataset: fer2013"]

    dvc(users, "checkout", "prepare@fer2013")
    run(users, "dvc", "pull")  # there is no remote
    git(users, "stash", "-q")
    git(users, "checkout", "-q", "HEAD~1")
    run(users, "dvc", "checkout")  # of what was never cached here
    git(users, "checkout", "-q", "-")
    apply(users, "mine")
    assert (images(users) == FIRST).all()
    assert "up to date" in dvc(users, "repro", *FIRST_STAGES)


@pytest.mark.long
def test_experiments_elsewhere_read_it(users):
    options = ("-S", "dataset=fer2013", *FIRST_STAGES)
    dvc(users, "exp", "run", "--temp", "-n", "temporary", *options)
    dvc(users, "exp", "run", "--queue", "-n", "queued", "-S", "prepare.seed=1", *options)
    dvc(users, "queue", "start")
    run(users, "dvc", "queue", "logs", "queued", "--follow")
    for name in ("temporary", "queued"):
        git(users, "checkout", "-q", ".")
        apply(users, name)
        assert (images(users) == FIRST).all()
        assert "up to date" in dvc(users, "repro", *FIRST_STAGES)


@pytest.fixture
def fer_train(clone, monkeypatch, run_main):
    """The command `fer train`, of which DVC runs the first stage only."""

    def run_first(command, root):
        return subprocess.run([*command, *FIRST_STAGES], cwd=root).returncode

    def call(path):
        with monkeypatch.context() as patch:
            patch.chdir(clone)
            patch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
            for role in ("AUTHOR", "COMMITTER"):
                patch.setenv(f"GIT_{role}_NAME", "fer")
                patch.setenv(f"GIT_{role}_EMAIL", "fer@example.org")
            patch.setattr(train, "_run_to_its_end", run_first)
            patch.setattr(train, "_print_results", lambda root, name, size: None)
            return run_main(main, "train", path)

    return call


@pytest.mark.long
def test_queue_after_fer_train(clone, tmp_path, fer_train):
    users = tmp_path / "users"
    two_classes(users / "mine")
    before = contents(users)
    (clone / "README.md").write_text("not committed\n")
    status, _, err = fer_train(users / "mine")
    assert status == 0, err
    assert "not committed" in git(clone, "diff", "README.md")
    dvc(clone, "exp", "run", "-S", "dataset=mine", "-S", "prepare.seed=1", *FIRST_STAGES)
    lines = ["exp run --queue -S train.seed=1", "exp run --temp -S prepare.seed=2"]
    for number, line in enumerate(lines):
        dvc(clone, *line.split(), "-n", f"run-{number}", "-S", "dataset=mine", *FIRST_STAGES)
    dvc(clone, "queue", "start")
    for number in range(len(lines)):
        run(clone, "dvc", "queue", "logs", f"run-{number}", "--follow")
        git(clone, "checkout", "-q", "params.yaml")
        apply(clone, f"run-{number}")
        assert "up to date" in dvc(clone, "repro", *FIRST_STAGES)
    git(clone, "stash", "-q")
    run(clone, "dvc", "checkout")
    assert contents(users) == before


@pytest.mark.long
def test_readme_on_fer2013_word_for_word(users):
    text = (ROOT / "README.md").read_text()
    section = text.partition("\n## Results on FER2013\n")[2].partition("\n## ")[0]
    blocks = "".join(re.findall(r"```sh\n(.*?)```", section, re.DOTALL))
    commands = blocks.replace("\\\n", " ").splitlines()
    assert commands
    for command in commands:
        done = run(users, "bash", "-c", command)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.long
def test_readme_compares_experiments_from_top_to_bottom(clone):
    text = (ROOT / "README.md").read_text()
    block = re.search(r"## Change a parameter.*?```sh\n(.*?)```", text, re.DOTALL)[1]
    commands = [line.partition("#")[0].strip() for line in block.splitlines()]
    for command in filter(None, commands):
        for number, name in enumerate(dvc(clone, "exp", "list", "--name-only").split(), 1):
            command = command.replace(f"NAME{number}", name)
        done = run(clone, "bash", "-c", command)
        assert done.returncode == 0, command + done.stdout + done.stderr
        if "exp show" in command:
            assert "test_int8_flip" in done.stdout
            assert max(map(len, done.stdout.splitlines())) <= 160, done.stdout
        if "queue start" in command:
            while re.search("Queued|Running", dvc(clone, "queue", "status")):
                time.sleep(1)
    assert dvc(clone, "queue", "status").count("Success") == 2
