import contextlib
import glob
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import optuna
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fer import params
from fer.errors import FerError
from fer.params import Dimension, Search, Tune
from fer.training import search as searching

RECIPE = params.load(Path(__file__).parents[1] / "params.yaml").recipe.changed(
    {"model.width": 0.5, "train.batch_size": 16, "train.precision": "float32"}
)
SPACE = {
    "train.lr": Dimension(low=0.01, high=0.3, log=True),
    "train.batch_size": Dimension(choices=[16, 32]),
    "train.augment.shift": Dimension(low=0, high=4),
}
BUDGET = Search(trials=6, epochs=2, minutes=5)


def task(faces, recipe=RECIPE, space=SPACE):
    tune = Tune(seed=0, space=space)
    return searching.Task(faces, faces[:35], recipe, tune, BUDGET.epochs, torch.device("cpu"))


@contextlib.contextmanager
def track(name, values):
    yield SimpleNamespace(log=lambda figures: None)


def search(task, storage, track=track, budget=BUDGET):
    study = searching.open_study(task, "noise", storage)
    searching.search(study, task, budget, storage, track)
    return study


@pytest.fixture
def sqlite(tmp_path):
    return f"sqlite:///{tmp_path}/new/studies.db"


def test_starts_from_the_recipe_and_runs_all_trials(faces, sqlite, capsys):
    given_task = task(faces)
    rows = searching.table(search(given_task, sqlite), given_task)
    assert [row["trial"] for row in rows] == list(range(6))
    assert {name: rows[0][name] for name in SPACE} == given_task.start()
    assert rows[-1]["best"] >= rows[0]["val_accuracy"]
    for row in rows:
        assert (row["epochs"] == 2) or row["state"] == "pruned"
        assert 0.01 <= row["train.lr"] <= 0.3
        assert row["train.batch_size"] in (16, 32)
        assert row["train.augment.shift"] in range(5)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 6
    assert lines[0].startswith(
        "trial 0 of 6: train.lr 0.15, train.batch_size 16, train.augment.shift 3: "
    )


def test_same_seed_same_trials(faces, tmp_path):
    tables = []
    for name in "ab":
        study = search(task(faces), f"sqlite:///{tmp_path}/{name}.db")
        tables.append(searching.table(study, task(faces)))
    assert tables[0] == tables[1]


def test_each_trial_is_tracked(faces, sqlite):
    seen = {}

    @contextlib.contextmanager
    def remember(name, values):
        seen[name] = []
        yield SimpleNamespace(log=seen[name].append)

    given_task = task(faces)
    rows = searching.table(search(given_task, sqlite, remember), given_task)
    assert list(seen) == [f"trial-{n}" for n in range(6)]
    assert [len(epochs) for epochs in seen.values()] == [row["epochs"] for row in rows]


def test_interrupted_search_takes_the_trial_up_again(faces, sqlite):
    started = []

    @contextlib.contextmanager
    def stop(name, values):
        started.append(values)
        if len(started) == 3:
            raise KeyboardInterrupt
        yield SimpleNamespace(log=lambda figures: None)

    given_task = task(faces)
    with pytest.raises(KeyboardInterrupt):
        search(given_task, sqlite, stop)
    study = search(given_task, sqlite, stop)
    assert searching.count(study, optuna.trial.TrialState.FAIL) == 1
    assert len(searching.table(study, given_task)) == 6
    assert started[3] == started[2]
    assert len(started) == 7


def test_finished_search_is_not_run_again(faces, sqlite):
    given_task = task(faces)
    search(given_task, sqlite)
    started = []
    search(given_task, sqlite, lambda name, values: started.append(name))
    assert started == []


@pytest.mark.parametrize("changed", ["space", "recipe", "data"])
def test_another_search_is_another_study(faces, sqlite, changed):
    first = searching.open_study(task(faces), "noise", sqlite)
    other = {
        "space": lambda: task(faces, space={"train.lr": SPACE["train.lr"]}),
        "recipe": lambda: task(faces, RECIPE.changed({"train.momentum": 0.8})),
        "data": lambda: task(faces[1:]),
    }[changed]()
    assert searching.open_study(other, "noise", sqlite).study_name != first.study_name
    assert searching.open_study(task(faces), "noise", sqlite).study_name == first.study_name


def test_diverging_trial_is_pruned(faces, sqlite, capsys):
    given_task = task(faces, space={"train.lr": Dimension(choices=[0.01, 1e30])})
    study = search(given_task, sqlite)
    diverged = capsys.readouterr().out.count("train.lr 1e+30: diverged")
    assert diverged
    assert searching.count(study, optuna.trial.TrialState.PRUNED) >= diverged
    assert len(searching.table(study, given_task)) == 6 - diverged


def study_of(accuracies):
    """Trials of which the accuracy depends on lr, if on anything."""
    study = optuna.create_study(direction="maximize")
    ranges = {
        "train.lr": optuna.distributions.FloatDistribution(0.01, 0.3, log=True),
        "train.batch_size": optuna.distributions.CategoricalDistribution([16, 32]),
        "train.augment.shift": optuna.distributions.IntDistribution(0, 4),
    }
    for number, accuracy in enumerate(accuracies):
        values = {
            "train.lr": 0.01 + 0.01 * number,
            "train.batch_size": 16,
            "train.augment.shift": number * 2 % 5,
        }
        study.add_trial(optuna.create_trial(value=accuracy, params=values, distributions=ranges))
    return study


def test_importance_is_a_share(faces, sqlite):
    shares = searching.importance(study_of([0.1 * n for n in range(9)]), task(faces))
    assert list(shares) == list(SPACE)
    assert sum(shares.values()) == pytest.approx(1)
    assert shares["train.lr"] == max(shares.values())


@pytest.mark.parametrize("accuracies", [[], [0.5], [0.5] * 4])
def test_importance_that_nothing_tells(faces, sqlite, accuracies):
    shares = searching.importance(study_of(accuracies), task(faces))
    assert shares == dict.fromkeys(SPACE, 0.0)


def test_parameter_of_one_value_has_no_importance(faces):
    study = optuna.create_study(direction="maximize")
    ranges = {"train.batch_size": optuna.distributions.CategoricalDistribution([16])}
    for accuracy in (0.1, 0.2, 0.3):
        trial = optuna.create_trial(
            value=accuracy, params={"train.batch_size": 16}, distributions=ranges
        )
        study.add_trial(trial)
    space = {"train.batch_size": Dimension(choices=[16])}
    assert searching.importance(study, task(faces, space=space)) == {"train.batch_size": 0.0}


def test_search_without_a_finished_trial_is_a_clear_error(faces, sqlite):
    recipe = RECIPE.changed({"train.lr": 1e30})
    given_task = task(faces, recipe, {"train.lr": Dimension(choices=[1e30])})
    with pytest.raises(FerError, match="no trial came to an end"):
        search(given_task, sqlite)


def test_stops_after_its_minutes(faces, sqlite, capsys):
    given_task = task(faces)
    study = search(given_task, sqlite, budget=Search(trials=6, epochs=2, minutes=1e-9))
    assert len(searching.table(study, given_task)) < 6
    assert "stopped after 1e-09 minutes" in capsys.readouterr().out


@given(st.floats(0.001, 10), st.floats(0.001, 10), st.floats(0.001, 10))
def test_range_takes_in_the_recipe(low, high, own):
    low, high = sorted((low, high))
    wider = Dimension(low=low, high=high, log=True).including(own)
    assert wider.low <= min(low, own)
    assert wider.high >= max(high, own)
    assert Dimension(choices=[low, high]).including(own).choices == sorted({low, high, own})


@given(st.floats(0.0001, 1.0), st.floats(0.0001, 1.0), st.floats(0, 1))
def test_three_digits_stay_within_the_range(low, high, share):
    low, high = sorted((low, high))
    value = min(max(low + share * (high - low), low), high)
    found = searching._in_three_digits(value, Dimension(low=low, high=high))
    assert low <= found <= high
    assert found == pytest.approx(value, rel=0.006)


def test_choices_are_not_rounded():
    assert searching._in_three_digits(0.03125, Dimension(choices=[0.03125])) == 0.03125


def test_recipe_is_trial_0_though_a_process_died_before_it_could_say_so(faces, sqlite, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(optuna.Study, "enqueue_trial", lambda *_: (_ for _ in ()).throw(KeyError))
        with pytest.raises(KeyError):
            searching.open_study(task(faces), "noise", sqlite)
    rows = searching.table(search(task(faces), sqlite), task(faces))
    assert {name: rows[0][name] for name in SPACE} == task(faces).start()


def test_searches_the_width_of_the_network_too(faces, sqlite):
    space = {"model.width": Dimension(choices=[0.25, 0.5])}
    rows = searching.table(search(task(faces, space=space), sqlite), task(faces, space=space))
    assert {row["model.width"] for row in rows} == {0.25, 0.5}


def incompatible(tmp_path):
    url = f"sqlite:///{tmp_path}/old.db"
    optuna.storages.RDBStorage(url)
    with contextlib.closing(sqlite3.connect(tmp_path / "old.db")) as database, database:
        database.execute("UPDATE alembic_version SET version_num = 'v0.9.0.a'")
    return url


def no_database(tmp_path):
    (tmp_path / "faces.db").write_text("pixels, emotions, " * 100)
    return f"sqlite:///{tmp_path}/faces.db"


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda _: "postgresql+psycopg://me:secret@127.0.0.1:1/x", "onnection"),
        (lambda _: "postgresql+psycopg://me:se@cr:et/secret@127.0.0.1:1/x", "invalid"),
        (lambda _: "postgresql+psycopg://me:secret@127.0.0.1:port/x", "port"),
        (lambda _: "nosuch://host/x", "nosuch"),
        (lambda _: "postgresql+nosuch://me:secret@host/x", "nosuch"),
        (lambda _: "not a url", "URL"),
        (lambda _: "sqlite:////dev/null/x.db", "/dev/null"),
        (no_database, "not a database"),
        (incompatible, "no longer compatible"),
    ],
)
def test_storage_that_cannot_be_used_is_one_line(faces, tmp_path, make, said):
    with pytest.raises(FerError, match=r"^settings\.storage is .* cannot be used: ") as error:
        searching.open_study(task(faces), "noise", make(tmp_path))
    assert said in str(error.value)
    assert "\n" not in str(error.value)
    assert "secret" not in str(error.value)


WORKER = """
import contextlib, sys, time
from types import SimpleNamespace
import numpy as np
from test_search import task, search
from fer.training import search as searching
from fer.faces import Faces
searching._BEAT, searching._GRACE = 1, 3
generator = np.random.default_rng(0)
images = generator.integers(0, 256, (70, 48, 48), dtype=np.uint8)
faces = Faces(images, np.repeat(np.arange(7, dtype=np.uint8), 10))

@contextlib.contextmanager
def slow(name, values):
    print("begin", name, flush=True)
    yield SimpleNamespace(log=lambda figures: time.sleep(float(sys.argv[2])))
    print("end", name, flush=True)

search(task(faces), sys.argv[1], slow)
"""


def worker(storage, seconds_an_epoch):
    return subprocess.Popen(
        [sys.executable, "-c", WORKER, storage, str(seconds_an_epoch)],
        cwd=Path(__file__).parent,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )


def states(given_task, storage):
    study = searching.open_study(given_task, "noise", storage)
    return [trial.state.name for trial in study.trials]


@pytest.mark.slow
def test_killed_search_goes_on(faces, sqlite):
    process = worker(sqlite, 0.2)
    for line in process.stdout:
        if line == "begin trial-3\n":
            os.kill(process.pid, signal.SIGKILL)
    given_task = task(faces)
    before = searching.table(searching.open_study(given_task, "noise", sqlite), given_task)
    assert len(before) == 3
    assert states(given_task, sqlite)[3] == "RUNNING"

    output, _ = worker(sqlite, 0).communicate(timeout=100)
    rows = searching.table(searching.open_study(given_task, "noise", sqlite), given_task)
    assert rows[:3] == before
    assert len(rows) == 6
    assert states(given_task, sqlite)[3] == "FAIL"
    begun = [line.split()[1] for line in output.splitlines() if line.startswith("begin")]
    assert begun == ["trial-4", "trial-5", "trial-6"]


def postgres_programs():
    """The folder of PostgreSQL's programs."""
    debian = next(iter(glob.glob("/usr/lib/postgresql/*/bin/initdb")), None)
    found = debian or shutil.which("initdb")
    if not found:
        pytest.skip("PostgreSQL's initdb is not installed (Debian: apt-get install postgresql)")
    return Path(found).parent


@pytest.fixture
def postgres():
    """URL of a database on a server of its own."""
    programs = postgres_programs()
    user = "nobody" if os.geteuid() == 0 else None  # the server refuses to run as root
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        if user:
            shutil.chown(folder, user)

        def run(program, *arguments):
            command = [programs / program, "-D", f"{folder}/data", *arguments]
            log = open(f"{folder}/{program}.log", "w")  # noqa: SIM115, the server keeps it open
            subprocess.run(command, check=True, cwd=folder, user=user, stdout=log, stderr=log)

        run("initdb", "--auth=trust", "--username=fer")
        options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        run("pg_ctl", "--wait", "-o", options, "start")
        try:
            yield f"postgresql+psycopg://fer@127.0.0.1:{port}/postgres"
        finally:
            run("pg_ctl", "--mode=immediate", "stop")


@pytest.mark.slow
def test_two_processes_share_a_study_in_postgresql(faces, postgres):
    workers = [worker(postgres, 0.3) for _ in range(2)]
    outputs = [process.communicate(timeout=100)[0] for process in workers]
    assert [process.returncode for process in workers] == [0, 0]
    begun = [
        [line.split()[1] for line in output.splitlines() if line.startswith("begin")]
        for output in outputs
    ]
    assert all(begun)  # both had some
    assert not set(begun[0]) & set(begun[1])
    given_task = task(faces)
    rows = searching.table(searching.open_study(given_task, "noise", postgres), given_task)
    assert 6 <= len(rows) <= 7
    assert len(rows) == sum(map(len, begun))
    drawn = [tuple(row[name] for name in SPACE) for row in rows]
    assert len(set(drawn)) == len(drawn)
