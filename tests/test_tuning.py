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

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer import params, tuning
from fer.errors import FerError
from fer.params import Dimension, Search, Tune

RECIPE = params.load(Path(__file__).parents[1] / "params.yaml").train.model_copy(
    update={"batch_size": 16, "device": "cpu", "precision": "float32"}
)
SPACE = {
    "lr": Dimension(low=0.01, high=0.3, log=True),
    "batch_size": Dimension(choices=[16, 32]),
    "augment.shift": Dimension(low=0, high=4),
}
BUDGET = Search(trials=6, epochs=2, minutes=5)


def task(faces, storage, recipe=RECIPE, space=SPACE):
    tune = Tune(storage=storage, seed=0, space=space)
    return tuning.Task(faces, faces[:35], 0.5, recipe, tune, BUDGET.epochs)


@contextlib.contextmanager
def track(name, values):
    yield lambda figures: None


def search(task, track=track, budget=BUDGET):
    study = tuning.open_study(task, "noise")
    tuning.search(study, task, budget, track)
    return study


@pytest.fixture
def sqlite(tmp_path):
    return f"sqlite:///{tmp_path}/new/studies.db"


def test_starts_from_the_recipe_and_runs_all_trials(faces, sqlite, capsys):
    given_task = task(faces, sqlite)
    rows = tuning.table(search(given_task), given_task)
    assert [row["trial"] for row in rows] == list(range(6))
    assert {name: rows[0][name] for name in SPACE} == given_task.start()
    assert rows[-1]["best"] >= rows[0]["val_accuracy"]
    for row in rows:
        assert (row["epochs"] == 2) or row["state"] == "pruned"
        assert 0.01 <= row["lr"] <= 0.3
        assert row["batch_size"] in (16, 32)
        assert row["augment.shift"] in range(5)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 6
    assert lines[0].startswith("trial 0 of 6: lr 0.15, batch_size 16, augment.shift 3: ")


def test_same_seed_same_trials(faces, tmp_path):
    tables = []
    for name in "ab":
        given_task = task(faces, f"sqlite:///{tmp_path}/{name}.db")
        tables.append(tuning.table(search(given_task), given_task))
    assert tables[0] == tables[1]


def test_each_trial_is_tracked(faces, sqlite):
    seen = {}

    @contextlib.contextmanager
    def remember(name, values):
        seen[name] = []
        yield seen[name].append

    given_task = task(faces, sqlite)
    rows = tuning.table(search(given_task, remember), given_task)
    assert list(seen) == [f"trial-{n}" for n in range(6)]
    assert [len(epochs) for epochs in seen.values()] == [row["epochs"] for row in rows]


def test_interrupted_search_takes_the_trial_up_again(faces, sqlite):
    started = []

    @contextlib.contextmanager
    def stop(name, values):
        started.append(values)
        if len(started) == 3:
            raise KeyboardInterrupt
        yield lambda figures: None

    given_task = task(faces, sqlite)
    with pytest.raises(KeyboardInterrupt):
        search(given_task, stop)
    study = search(given_task, stop)
    assert tuning.count(study, optuna.trial.TrialState.FAIL) == 1
    assert len(tuning.table(study, given_task)) == 6
    assert started[3] == started[2]
    assert len(started) == 7


def test_finished_search_is_not_run_again(faces, sqlite):
    given_task = task(faces, sqlite)
    search(given_task)
    started = []
    search(given_task, lambda name, values: started.append(name))
    assert started == []


@pytest.mark.parametrize("changed", ["space", "recipe", "data"])
def test_another_search_is_another_study(faces, sqlite, changed):
    first = tuning.open_study(task(faces, sqlite), "noise")
    other = {
        "space": lambda: task(faces, sqlite, space={"lr": SPACE["lr"]}),
        "recipe": lambda: task(faces, sqlite, RECIPE.model_copy(update={"momentum": 0.8})),
        "data": lambda: task(faces[1:], sqlite),
    }[changed]()
    assert tuning.open_study(other, "noise").study_name != first.study_name
    assert tuning.open_study(task(faces, sqlite), "noise").study_name == first.study_name


def test_diverging_trial_is_pruned(faces, sqlite, capsys):
    given_task = task(faces, sqlite, space={"lr": Dimension(choices=[0.01, 1e30])})
    study = search(given_task)
    diverged = capsys.readouterr().out.count("lr 1e+30: diverged")
    assert diverged
    assert tuning.count(study, optuna.trial.TrialState.PRUNED) >= diverged
    assert len(tuning.table(study, given_task)) == 6 - diverged


def study_of(accuracies):
    """Trials of which the accuracy depends on lr, if on anything."""
    study = optuna.create_study(direction="maximize")
    ranges = {
        "lr": optuna.distributions.FloatDistribution(0.01, 0.3, log=True),
        "batch_size": optuna.distributions.CategoricalDistribution([16, 32]),
        "augment.shift": optuna.distributions.IntDistribution(0, 4),
    }
    for number, accuracy in enumerate(accuracies):
        values = {"lr": 0.01 + 0.01 * number, "batch_size": 16, "augment.shift": number * 2 % 5}
        study.add_trial(optuna.create_trial(value=accuracy, params=values, distributions=ranges))
    return study


def test_importance_is_a_share(faces, sqlite):
    shares = tuning.importance(study_of([0.1 * n for n in range(9)]), task(faces, sqlite))
    assert list(shares) == list(SPACE)
    assert sum(shares.values()) == pytest.approx(1)
    assert shares["lr"] == max(shares.values())


@pytest.mark.parametrize("accuracies", [[], [0.5], [0.5] * 4])
def test_importance_that_nothing_tells(faces, sqlite, accuracies):
    shares = tuning.importance(study_of(accuracies), task(faces, sqlite))
    assert shares == dict.fromkeys(SPACE, 0.0)


def test_search_without_a_finished_trial_is_a_clear_error(faces, sqlite):
    recipe = RECIPE.model_copy(update={"lr": 1e30})
    given_task = task(faces, sqlite, recipe, {"lr": Dimension(choices=[1e30])})
    with pytest.raises(FerError, match="no trial came to an end"):
        search(given_task)


def test_stops_after_its_minutes(faces, sqlite, capsys):
    given_task = task(faces, sqlite)
    study = search(given_task, budget=Search(trials=6, epochs=2, minutes=1e-9))
    assert len(tuning.table(study, given_task)) < 6
    assert "stopped after 1e-09 minutes" in capsys.readouterr().out


@given(st.floats(0.001, 10), st.floats(0.001, 10), st.floats(0.001, 10))
def test_range_takes_in_the_recipe(low, high, own):
    low, high = sorted((low, high))
    wider = Dimension(low=low, high=high, log=True).including(own)
    assert wider.low <= min(low, own)
    assert wider.high >= max(high, own)
    assert Dimension(choices=[low, high]).including(own).choices == sorted({low, high, own})


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
        (lambda _: "nosuch://host/x", "nosuch"),
        (lambda _: "postgresql+nosuch://me:secret@host/x", "nosuch"),
        (lambda _: "not a url", "URL"),
        (lambda _: "sqlite:////dev/null/x.db", "/dev/null"),
        (no_database, "not a database"),
        (incompatible, "no longer compatible"),
    ],
)
def test_storage_that_cannot_be_used_is_one_line(faces, tmp_path, make, said):
    with pytest.raises(FerError, match=r"^tune\.storage is .* cannot be used: ") as error:
        tuning.open_study(task(faces, make(tmp_path)), "noise")
    assert said in str(error.value)
    assert "\n" not in str(error.value)
    assert "secret" not in str(error.value)


WORKER = """
import contextlib, sys, time
import numpy as np
from test_tuning import task, search
from fer import tuning
from fer.faces import Faces
tuning._BEAT, tuning._GRACE = 1, 3
generator = np.random.default_rng(0)
images = generator.integers(0, 256, (70, 48, 48), dtype=np.uint8)
faces = Faces(images, np.repeat(np.arange(7, dtype=np.uint8), 10))

@contextlib.contextmanager
def slow(name, values):
    print("begin", name, flush=True)
    yield lambda figures: time.sleep(float(sys.argv[2]))
    print("end", name, flush=True)

search(task(faces, sys.argv[1]), slow)
"""


def worker(storage, seconds_an_epoch):
    return subprocess.Popen(
        [sys.executable, "-c", WORKER, storage, str(seconds_an_epoch)],
        cwd=Path(__file__).parent,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )


def states(given_task):
    study = tuning.open_study(given_task, "noise")
    return [trial.state.name for trial in study.trials]


def test_killed_search_goes_on(faces, sqlite):
    process = worker(sqlite, 0.2)
    for line in process.stdout:
        if line == "begin trial-3\n":
            os.kill(process.pid, signal.SIGKILL)
    given_task = task(faces, sqlite)
    before = tuning.table(tuning.open_study(given_task, "noise"), given_task)
    assert len(before) == 3
    assert states(given_task)[3] == "RUNNING"

    output, _ = worker(sqlite, 0).communicate(timeout=100)
    rows = tuning.table(tuning.open_study(given_task, "noise"), given_task)
    assert rows[:3] == before
    assert len(rows) == 6
    assert states(given_task)[3] == "FAIL"
    begun = [line.split()[1] for line in output.splitlines() if line.startswith("begin")]
    assert begun == ["trial-4", "trial-5", "trial-6"]


def postgres_programs():
    """The folder of PostgreSQL's programs, installed if need be."""

    def find():
        return next(iter(glob.glob("/usr/lib/postgresql/*/bin/initdb")), shutil.which("initdb"))

    if not find():
        if os.geteuid() != 0 or not shutil.which("apt-get"):
            pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
        for command in (["update"], ["install", "-y", "--no-install-recommends", "postgresql"]):
            try:
                subprocess.run(
                    ["apt-get", "-q", *command], check=True, capture_output=True, timeout=90
                )
            except subprocess.SubprocessError as error:
                pytest.skip(f"PostgreSQL cannot be installed: {error}")
    return Path(find()).parent


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
    given_task = task(faces, postgres)
    rows = tuning.table(tuning.open_study(given_task, "noise"), given_task)
    assert 6 <= len(rows) <= 7
    assert len(rows) == sum(map(len, begun))
    drawn = [tuple(row[name] for name in SPACE) for row in rows]
    assert len(set(drawn)) == len(drawn)
