"""The search: its trials in a database, and its finals."""

import contextlib
import glob
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import optuna
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from layouts import PARAMS

from fer.core.errors import FerError
from fer.core.params import Dimension
from fer.tuning import finals
from fer.tuning import search as searching

CONFIG = PARAMS.config.with_values(
    {"model.width": 0.5, "train.batch_size": 16, "train.precision": "float32"}
)
SPACE = {
    "train.lr": Dimension(low=0.01, high=0.3, log=True),
    "train.batch_size": Dimension(choices=[16, 32]),
    "train.augment.shift": Dimension(low=0, high=4),
}


pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")


@pytest.fixture(autouse=True)
def checkpoints_here(tmp_path, monkeypatch):
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))


def task(faces, trials=5, space=SPACE, config=CONFIG, folds=2):
    tune = PARAMS.tune.model_copy(update={"trials": trials, "space": space, "folds": folds})
    return searching.SearchTask(config, tune, faces, faces[:35], torch.device("cpu"))


@contextlib.contextmanager
def track(name, values, log=lambda figures: None):
    yield SimpleNamespace(log=log)


def search(task, storage="sqlite:///new/studies.db", track=track, epochs=1):
    return searching.search(task, task.study_name("noise", epochs), epochs, storage, track)


def recorded(trials):
    return [(trial.number, trial.params, trial.value) for trial in trials]


def test_search_runs_the_baseline_first_and_draws_the_others_from_the_space(faces, tmp_path):
    names = []
    trials = search(task(faces), track=lambda *run: names.append(run[0]) or track(*run))
    assert names == [f"trial-{number}" for number in range(5)]
    assert trials[0].params == task(faces).baseline
    for trial in trials:
        assert 0 <= trial.value <= 1
        assert 0.01 <= trial.params["train.lr"] <= 0.3
        assert trial.params["train.batch_size"] in (16, 32)
        assert trial.params["train.augment.shift"] in range(5)
    assert len({trial.params["train.lr"] for trial in trials}) == 5
    assert not list((tmp_path / ".checkpoints").iterdir())
    few = search(task(faces, 2), "sqlite:///other.db")
    assert recorded(search(task(faces), "sqlite:///other.db")) == recorded(trials)

    def begun(name, values):
        pytest.fail("began a trial")

    assert recorded(search(task(faces, 2), track=begun)) == recorded(few)  # finished


def test_search_that_was_stopped_goes_on(faces, capsys):
    def stop(name, values):
        if name in ("trial-0", "trial-2"):
            raise KeyboardInterrupt
        return track(name, values)

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            search(task(faces, 3), track=stop)
    trials = search(task(faces, 3))
    assert [trial.number for trial in trials] == [1, 3, 4]
    assert trials[0].params == task(faces).baseline
    assert "going on after 1 finished trials" in capsys.readouterr().out


def test_one_of_the_trials_that_begin_together_is_the_baseline(faces):
    """In a study that two processes share, before any trial has its values."""
    shared = task(faces)
    study = optuna.create_study()
    first, second = study.ask(), study.ask()
    values = []
    for trial in (second, first):
        study.sampler = shared.sampler(trial.number, study.trials)
        values.append(shared.suggest(trial))
    assert values[1] == shared.baseline != values[0]
    third = study.ask()
    study.sampler = shared.sampler(third.number, study.trials)
    assert shared.suggest(third) not in values


def test_other_space_configuration_data_or_epochs_are_another_study(faces):
    name = task(faces).study_name("noise", 2)
    assert task(faces, 9).study_name("noise", 2) == name
    others = (
        (task(faces, space={"train.lr": SPACE["train.lr"]}), 2),
        (task(faces, config=CONFIG.with_values({"train.momentum": 0.8})), 2),
        (task(faces[1:]), 2),
        (task(faces), 3),
    )
    assert len({name, *(one.study_name("noise", epochs) for one, epochs in others)}) == 5


def test_trial_that_diverges_has_no_accuracy_and_is_not_tried_again(faces, capsys):
    space = {"train.lr": Dimension(choices=[0.01, 1e30])}
    trials = search(task(faces, space=space))
    diverged = [trial.number for trial in trials if trial.value is None]
    assert {trials[number].params["train.lr"] for number in diverged} == {1e30}
    assert capsys.readouterr().out.count("diverged with") == len(diverged) > 0
    rows = searching.table(trials)
    assert [row["trial"] for row in rows] == [n for n in range(5) if n not in diverged]


@given(st.floats(0.001, 10), st.floats(0.001, 10), st.floats(0.001, 10))
def test_dimension_includes_the_baseline(low, high, baseline):
    low, high = sorted((low, high))
    wider = Dimension(low=low, high=high, log=True).including(baseline)
    assert (wider.low, wider.high) == (min(low, baseline), max(high, baseline))
    expected = sorted({low, high, baseline})
    assert Dimension(choices=[low, high]).including(baseline).choices == expected


def test_copies_of_a_face_are_in_one_fold_and_count_once(faces):
    """With each face four times, as after oversampling, the margin must not halve."""
    copied = faces[np.tile(np.arange(70), 4)]
    groups, folds = finals.split_folds(copied, 2, 0)
    assert (groups.reshape(4, 70) == groups[:70]).all()
    assert np.bincount(folds).tolist() == [35] * 2
    assert (folds != finals.split_folds(copied, 2, 1)[1]).any()
    probabilities, correct, _ = finals.cross_validate(
        task(copied), 0, {}, groups=groups, folds=folds, epochs=1, track=track
    )
    accuracy = (probabilities.argmax(1) == copied.labels).reshape(4, 70)
    assert (accuracy[:, np.unique(groups, return_index=True)[1]] == correct).all()
    assert correct.shape == folds.shape == (70,)
    assert set(correct) <= {0.0, 1.0}  # copies have one prediction
    with pytest.raises(FerError, match="there are only 70 different training faces"):
        finals.split_folds(copied, 71, 0)


FOLDS = np.arange(3000) % 5


def accuracies(generator, accuracy):
    """Faces differ in how hard they are, the same for all; seeds differ in how well they do."""
    hard = np.random.default_rng(0).normal(size=len(FOLDS))
    chance = generator.normal(0, 0.5, len(FOLDS)) + generator.normal(0, 0.03, 5)[FOLDS]
    return (hard + chance < np.quantile(hard, accuracy)).astype(float)


def test_chance_is_no_gain_and_a_large_difference_is_one():
    generator = np.random.default_rng(1)
    baselines, equal, better = (
        [accuracies(generator, accuracy) for _ in range(400)] for accuracy in (0.6, 0.6, 0.7)
    )
    results = [finals.accuracy_gain(*pair, FOLDS) for pair in zip(equal, baselines, strict=True)]
    gains, margins = np.array(results).T
    assert 2 * gains.std() <= margins.mean() <= 4 * gains.std()
    assert 0.0 < (gains > margins).mean() <= 0.03  # 2.5 % by the test, fewer by the least margin
    gain, margin = finals.accuracy_gain(better[0], baselines[0], FOLDS)
    assert gain > margin > 0


@pytest.mark.parametrize(("margin", "winner"), [(0.01, 2), (0.03, 0)])
def test_best_trial_wins_only_with_more_than_the_margin_of_error(margin, winner):
    best = {"trial": 2, "gain": 0.02, "margin_of_error": margin}
    assert finals.winner([{"trial": 0}, best])["trial"] == winner
    assert finals.winner([{"trial": 0}])["trial"] == 0


def test_finals_compare_the_baseline_with_the_best_other_trial(faces, tmp_path, capsys):
    given_task = task(faces, config=CONFIG.with_values({"train.seed": 2**32 - 1}))
    rates = [(0.15, 0.9), (0.05, 0.4), (0.1, 0.5), (0.2, None)]  # with their accuracies
    trials = [
        SimpleNamespace(number=number, value=value, params=given_task.baseline | {"train.lr": lr})
        for number, (lr, value) in enumerate(rates)
    ]
    names, seeds = [], []

    def spy(name, values):
        names.append(name)
        seeds.append(values["train"]["seed"])
        return track(name, values)

    results, probabilities, checkpoints = finals.run(given_task, trials, 1, spy)
    assert names == [f"final-{trial}-{fold}" for trial in (0, 2) for fold in (0, 1)]
    assert seeds == [2**32 - 1, 0] * 2
    assert [result["trial"] for result in results] == [0, 2]
    accuracy = (probabilities.argmax(1) == faces.labels).mean()
    assert accuracy == pytest.approx(results[0]["mean"], abs=1e-6)
    assert results[1].keys() - results[0].keys() == {"gain", "margin_of_error"}
    gain = results[1]["mean"] - results[0]["mean"]
    assert results[1]["gain"] == pytest.approx(gain, abs=1e-5)
    assert len(results[0]["fold_accuracy"]) == 2
    assert set(checkpoints) == set((tmp_path / ".checkpoints").iterdir())

    trials[2].params["train.lr"] = 1e30
    results, _, _ = finals.run(given_task, trials, 1, track)
    assert [result["trial"] for result in results] == [0]
    assert "warning: train.lr is 1e+30" in capsys.readouterr().err


def test_baseline_that_diverges_is_an_error(faces):
    space = {"train.lr": Dimension(choices=[1e30])}
    bad = task(faces, 1, space, CONFIG.with_values({"train.lr": 1e30}))
    with pytest.raises(FerError, match="the baseline diverges"):
        finals.run(bad, [], 1, track)
    with pytest.raises(FerError, match="every trial diverged"):
        search(bad)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("postgresql+psycopg://me:secret@127.0.0.1:1/x", "me:***@127.0.0.1:1/x, which"),
        ("postgresql+psycopg://me@127.0.0.1:1/x?password=secret", "which cannot be used"),
        ("postgresql+psycopg://me:my@secret@127.0.0.1:1/x", "write it as %40"),
        ("postgresql+nosuch://me:secret@host/x", "nosuch"),
        ("not a url of secret", "is no URL"),
        ("sqlite:////dev/null/x.db", "/dev/null"),
        ("sqlite:///faces.db", "not a database"),
        ("sqlite:///locked.db", "database is locked"),
        ("sqlite:///old.db", "no longer compatible"),
    ],
)
def test_storage_that_cannot_be_used_is_one_line_without_the_password(
    faces, tmp_path, monkeypatch, capsys, url, message
):
    monkeypatch.setattr(searching, "_LOCK_SECONDS", 0.2)
    (tmp_path / "faces.db").write_text("pixels, emotions, " * 100)
    optuna.storages.RDBStorage(f"sqlite:///{tmp_path}/old.db")
    with (
        contextlib.closing(sqlite3.connect(tmp_path / "old.db")) as old,
        contextlib.closing(sqlite3.connect(tmp_path / "locked.db")) as locked,
    ):
        with old:
            old.execute("UPDATE alembic_version SET version_num = 'v0.9.0.a'")
        locked.execute("BEGIN EXCLUSIVE")
        with pytest.raises(FerError, match=r"^settings\.storage") as error:
            search(task(faces), url)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert "secret" not in str(error.value)
    waits = f"waiting for the process that locks {tmp_path / 'locked.db'}\n"
    assert capsys.readouterr().out == (waits if "locked" in url else "")


WORKER = """
import contextlib, sys, time
from types import SimpleNamespace
import numpy as np
from test_search import task, search
from fer.tuning import search as searching
from fer.core.faces import Faces
searching._HEARTBEAT_INTERVAL, searching._GRACE_PERIOD = 1, 3
images = np.random.default_rng(0).integers(0, 256, (70, 48, 48), dtype=np.uint8)
faces = Faces(images, np.repeat(np.arange(7, dtype=np.uint8), 10), tuple("abcdefg"))

@contextlib.contextmanager
def slow(name, values):
    print("begin", values["train"]["lr"], flush=True)
    yield SimpleNamespace(log=lambda figures: time.sleep(1))

print("end", [trial.number for trial in search(task(faces, 4), sys.argv[1], slow)])
"""


def worker(storage):
    command = [sys.executable, "-c", WORKER, storage]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, cwd=Path(__file__).parent, env=environment, stdout=subprocess.PIPE, text=True
    )


@pytest.mark.long
def test_trial_of_a_killed_process_is_repeated(tmp_path):
    process = worker("sqlite:///x.db")
    while not (line := process.stdout.readline()).startswith("begin"):
        pass
    process.kill()
    process.communicate()
    output, _ = worker("sqlite:///x.db").communicate()
    begun = [text for text in output.splitlines() if text.startswith("begin")]
    assert begun.count(line.strip()) == 1  # the baseline, after 3 seconds without a heartbeat
    assert len(begun) == len(set(begun)) == 4


@pytest.fixture
def postgres():
    """URL of a database on a PostgreSQL server of its own."""
    programs = next(iter(glob.glob("/usr/lib/postgresql/*/bin")), None)
    if not programs:
        pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        user = "nobody" if os.geteuid() == 0 else None  # the server refuses to run as root
        if user:
            shutil.chown(folder, user)

        def run(program, *arguments):
            command = [f"{programs}/{program}", "-D", f"{folder}/data", *arguments]
            subprocess.run(command, check=True, cwd=folder, user=user, stdout=subprocess.DEVNULL)

        run("initdb", "--auth=trust", "--username=fer")
        options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        run("pg_ctl", "--wait", "--log", f"{folder}/log", "-o", options, "start")
        try:
            yield f"postgresql+psycopg://fer@127.0.0.1:{port}/postgres"
        finally:
            run("pg_ctl", "--mode=immediate", "stop")


@pytest.mark.long
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_two_processes_share_a_search(kind, request):
    url = request.getfixturevalue("postgres") if kind == "postgresql" else "sqlite:///x.db"
    workers = [worker(url) for _ in range(2)]
    outputs = [process.communicate()[0] for process in workers]
    assert [process.returncode for process in workers] == [0, 0]
    begun = [[x for x in output.splitlines() if x.startswith("begin")] for output in outputs]
    assert all(begun)  # both had some
    assert 4 <= len(begun[0] + begun[1]) <= 6  # the last ones may run at the same time
    assert len(set(begun[0] + begun[1])) >= 4
    assert all(len(output.split("end")[1].split(",")) == 4 for output in outputs)
