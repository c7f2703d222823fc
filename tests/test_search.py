"""The search: drawing, the shared trials, the full runs."""

import contextlib
import glob
import os
import random
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import optuna
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from optuna.trial import TrialState

from fer.core import params
from fer.core.errors import FerError
from fer.core.faces import is_in
from fer.core.params import Dimension, Search, Tune
from fer.tuning import finals
from fer.tuning import search as searching
from fer.tuning.space import GENERATION, Space, Trial

CONFIG = params.load(Path(__file__).parents[1] / "params.yaml").config.with_values(
    {"model.width": 0.5, "train.batch_size": 16, "train.precision": "float32"}
)
SPACE = {
    "train.lr": Dimension(low=0.01, high=0.3, log=True),
    "train.batch_size": Dimension(choices=[16, 32]),
    "train.augment.shift": Dimension(low=0, high=4),
}
BUDGET = Search(trials=6, epochs=2, minutes=5, finalists=2, final_epochs=2, folds=2)


@pytest.fixture(autouse=True)
def checkpoints_here(tmp_path, monkeypatch):
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))


def space(dimensions=SPACE, config=CONFIG):
    return Space(config, Tune(seed=0, space=dimensions))


def task(faces, config=CONFIG, dimensions=SPACE):
    device = torch.device("cpu")
    return searching.SearchTask(faces, faces[:35], config, space(dimensions, config), device)


@contextlib.contextmanager
def track(name, values):
    yield SimpleNamespace(log=lambda figures: None)


def search(task, storage, track=track, budget=BUDGET):
    return searching.search(task, "noise", budget, storage, track)


def study(task, storage):
    return searching._open(f"noise-{task.key(BUDGET.epochs)}", storage)[0]


@pytest.fixture
def sqlite(tmp_path):
    return f"sqlite:///{tmp_path}/new/studies.db"


def test_starts_from_the_recipe_and_runs_all_trials(faces, sqlite, capsys):
    trials = search(task(faces), sqlite)
    assert [trial.index for trial in trials] == list(range(6))
    assert trials[0].values == space().baseline_values
    for trial in trials:
        assert 0 <= trial.accuracy <= 1
        assert 0.01 <= trial.values["train.lr"] <= 0.3
        assert trial.values["train.batch_size"] in (16, 32)
        assert trial.values["train.augment.shift"] in range(5)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 6
    assert lines[0].startswith(
        "trial 0 of 6: train.lr 0.15, train.batch_size 16, train.augment.shift 3: "
    )


def test_same_seed_same_trials(faces, tmp_path):
    first, second = (search(task(faces), f"sqlite:///{tmp_path}/{name}.db") for name in "ab")
    assert first == second


def test_each_trial_is_tracked(faces, sqlite):
    seen = {}

    @contextlib.contextmanager
    def remember(name, values):
        seen[name] = []
        yield SimpleNamespace(log=seen[name].append)

    search(task(faces), sqlite, remember)
    assert list(seen) == [f"trial-{n}" for n in range(6)]
    assert [len(epochs) for epochs in seen.values()] == [2] * 6


def test_interrupted_trial_is_taken_up_at_its_place_and_epoch(faces, tmp_path, capsys):
    undisturbed = search(task(faces), f"sqlite:///{tmp_path}/undisturbed.db")
    task(faces).remove_checkpoints(
        (CONFIG.with_values(t.values) for t in undisturbed), BUDGET.epochs
    )
    begun = []

    @contextlib.contextmanager
    def stop(name, values):
        begun.append(name)

        def log(figures):
            if begun.count("trial-2") == 1 and name == "trial-2":
                raise KeyboardInterrupt

        yield SimpleNamespace(log=log)

    sqlite = f"sqlite:///{tmp_path}/stopped.db"
    with pytest.raises(KeyboardInterrupt):
        search(task(faces), sqlite, stop)
    capsys.readouterr()
    assert search(task(faces), sqlite, stop) == undisturbed
    message = capsys.readouterr().out
    assert message.startswith("going on after 2 finished trials\n")
    assert message.count("going on after epoch 1\n") == 1
    assert sorted(begun) == [f"trial-{n}" for n in (0, 1, 2, 2, 3, 4, 5)]


def test_more_trials_prolong_the_search(faces, tmp_path):
    at_once = search(task(faces), f"sqlite:///{tmp_path}/a.db")
    few = BUDGET.model_copy(update={"trials": 3})
    assert search(task(faces), f"sqlite:///{tmp_path}/b.db", budget=few) == at_once[:3]
    assert search(task(faces), f"sqlite:///{tmp_path}/b.db") == at_once
    assert search(task(faces), f"sqlite:///{tmp_path}/b.db", budget=few) == at_once[:3]


def test_finished_search_is_not_run_again(faces, sqlite):
    first = search(task(faces), sqlite)
    assert search(task(faces), sqlite, lambda name, values: pytest.fail("began")) == first


def test_place_that_two_processes_queued_is_run_once(faces, sqlite):
    given_task, opened = task(faces), study(task(faces), sqlite)
    for _ in range(2):
        waiting = given_task.space.trial(
            given_task.space.baseline_values, state=TrialState.WAITING, user_attrs={"index": 0}
        )
        waiting.set_user_attr("drawn", searching._digest(waiting, None))
        opened.add_trial(waiting)
    begun = []

    @contextlib.contextmanager
    def remember(name, values):
        begun.append(name)
        yield SimpleNamespace(log=lambda figures: None)

    assert len(search(given_task, sqlite, remember)) == 6
    assert begun == [f"trial-{n}" for n in range(6)]


@pytest.mark.parametrize("changed", ["space", "config", "data", "code"])
def test_another_search_is_another_study(faces, changed, tmp_path, monkeypatch):
    first = task(faces).key(2)
    assert task(faces).key(2) == first
    if changed == "code":
        monkeypatch.setattr(searching, "__file__", str(tmp_path / "search.py"))
        (tmp_path / "search.py").write_text("another")
    other = {
        "space": lambda: task(faces, dimensions={"train.lr": SPACE["train.lr"]}),
        "config": lambda: task(faces, CONFIG.with_values({"train.momentum": 0.8})),
        "data": lambda: task(faces[1:]),
        "code": lambda: task(faces),
    }[changed]()
    assert other.key(2) != first


def test_diverging_trial_has_no_accuracy_and_is_not_tried_again(faces, sqlite, capsys):
    dimensions = {"train.lr": Dimension(choices=[0.01, 1e30])}
    trials = search(task(faces, dimensions=dimensions), sqlite)
    diverged = [trial for trial in trials if trial.accuracy is None]
    assert {trial.values["train.lr"] for trial in diverged} == {1e30}
    assert capsys.readouterr().out.count("train.lr 1e+30: diverged") == len(diverged) > 0
    assert len(trials) == 6
    assert len(space(dimensions).table(trials)) == 6 - len(diverged)


def trials_of(accuracies):
    """Trials of which the accuracy depends on lr, if on anything."""
    return [
        Trial(
            index,
            {
                "train.lr": 0.01 + 0.01 * index,
                "train.batch_size": 16,
                "train.augment.shift": index * 2 % 5,
            },
            accuracy,
        )
        for index, accuracy in enumerate(accuracies)
    ]


def test_table_has_the_best_so_far():
    rows = space().table(trials_of([0.3, None, 0.2, 0.4]))
    assert [row["trial"] for row in rows] == [0, 2, 3]
    assert [row["best"] for row in rows] == [0.3, 0.3, 0.4]


def test_positions_are_within_the_scales():
    actual = space({"train.lr": Dimension(low=0.01, high=1.0, log=True)})
    rows = actual.positions([Trial(0, {"train.lr": 0.1}, 0.5)])
    assert rows == [
        {"trial": 0, "val_accuracy": 0.5, "parameter": "train.lr", "value": 0.1, "position": 0.5}
    ]
    assert actual.scales() == {"train.lr": {"0.01": 0.0, "1.0": 1.0}}


def test_importance_is_a_share():
    shares = space().importance(trials_of([0.1 * n for n in range(9)]))
    assert list(shares) == list(SPACE)
    assert sum(shares.values()) == pytest.approx(1)
    assert shares["train.lr"] == max(shares.values())


@pytest.mark.parametrize("accuracies", [[], [0.5], [0.5] * 4])
def test_importance_that_nothing_tells(accuracies):
    assert space().importance(trials_of(accuracies)) == dict.fromkeys(SPACE, 0.0)


def test_parameter_of_one_value_has_no_importance():
    shares = space().importance(trials_of([0.1, 0.2, 0.3]))
    assert shares["train.batch_size"] == 0


def test_draws_depend_on_seed_and_place_and_on_the_generations_before():
    known = trials_of([0.3, 0.2, None, 0.4])
    values = [space().draw(index, known) for index in range(1, 9)]
    assert values == [space().draw(index, known) for index in range(1, 9)]
    assert len({tuple(one.values()) for one in values}) == len(values)
    others = trials_of([0.4, 0.2, None, 0.3])
    assert [space().draw(index, others) for index in range(1, 9)] != values
    assert Space(CONFIG, Tune(seed=1, space=SPACE)).draw(5, known) != values[4]


def test_later_generations_draw_near_the_best():
    """Of a hill with its top at 0.04, from a start at 0.3."""
    actual = space({"train.lr": SPACE["train.lr"]}, CONFIG.with_values({"train.lr": 0.3}))
    trials = []
    for index in range(6 * GENERATION):
        values = actual.draw(index, trials[: index // GENERATION * GENERATION])
        away = abs(np.log(values["train.lr"] / 0.04))
        trials.append(Trial(index, values, 1 - away / 10))
    first, last = trials[1:GENERATION], trials[-2 * GENERATION :]
    mean = [np.mean([trial.accuracy for trial in some]) for some in (first, last)]
    assert mean[1] > mean[0]


def test_search_without_a_finished_trial_is_a_clear_error(faces, sqlite):
    config = CONFIG.with_values({"train.lr": 1e30})
    given_task = task(faces, config, {"train.lr": Dimension(choices=[1e30])})
    with pytest.raises(FerError, match="every trial diverged"):
        search(given_task, sqlite)


def test_stops_after_its_minutes(faces, sqlite, capsys):
    trials = search(task(faces), sqlite, budget=BUDGET.model_copy(update={"minutes": 1e-9}))
    assert len(trials) < 6
    assert "stopped after 1e-09 minutes" in capsys.readouterr().out


@given(st.floats(0.001, 10), st.floats(0.001, 10), st.floats(0.001, 10))
def test_range_takes_in_the_recipe(low, high, own):
    low, high = sorted((low, high))
    wider = Dimension(low=low, high=high, log=True).including(own)
    assert wider.low <= min(low, own)
    assert wider.high >= max(high, own)
    assert Dimension(choices=[low, high]).including(own).choices == sorted({low, high, own})


@pytest.mark.parametrize(
    "dimension",
    [
        Dimension(choices=[0.03125, 0.98765]),
        Dimension(low=0.99985, high=0.9999),
        Dimension(low=0.012345, high=0.012346, log=True),
    ],
)
def test_drawn_values_keep_to_their_range_and_choices(dimension):
    actual = space({"train.momentum": dimension}, CONFIG.with_values({"train.momentum": 0.98765}))
    for index in range(20):
        value = actual.draw(index, [])["train.momentum"]
        assert value in (dimension.choices or (value,))
        CONFIG.with_values({"train.momentum": value})
        actual.trial({"train.momentum": value}, state=TrialState.WAITING)


def test_searches_the_width_of_the_network_too(faces, sqlite):
    dimensions = {"model.width": Dimension(choices=[0.25, 0.5])}
    trials = search(task(faces, dimensions=dimensions), sqlite)
    assert {trial.values["model.width"] for trial in trials} == {0.25, 0.5}


def test_finalists_are_the_best_that_differ(faces):
    start = space().baseline_values
    others = [start | {"train.lr": lr} for lr in (0.05, 0.05, 0.1, 0.2)]
    accuracies = (0.5, 0.4, 0.4, None, 0.3)
    trials = [
        Trial(index, values, accuracy)
        for index, (values, accuracy) in enumerate(zip([start, *others], accuracies, strict=True))
    ]
    assert [t.index for t in finals.finalists(task(faces), trials, 9)] == [1, 4]
    assert [t.index for t in finals.finalists(task(faces), trials, 1)] == [1]


FOLDS = np.arange(3000) % 5


def correct(generator, accuracy):
    """Faces differ in how hard they are, the same for all; seeds differ in how well they do."""
    hard = np.random.default_rng(0).normal(size=len(FOLDS))
    chance = generator.normal(0, 0.5, len(FOLDS)) + generator.normal(0, 0.03, 5)[FOLDS]
    return hard + chance < np.quantile(hard, accuracy)


def test_chance_is_no_gain():
    generator = np.random.default_rng(1)
    results = [
        finals.accuracy_gain(correct(generator, 0.6), correct(generator, 0.6), FOLDS)
        for _ in range(400)
    ]
    gains, margins = np.array(results).T
    assert 2 * gains.std() <= margins.mean() <= 4 * gains.std()
    assert 0.0 < (gains > margins).mean() <= 0.03  # 2.5 % by the test, fewer by the least margin


def final(index, right):
    return finals.Final(Trial(index, {}, 0.5), right)


def test_winner_is_ahead_by_more_than_the_noise():
    generator = np.random.default_rng(2)
    config, level, better, best = (
        final(index, correct(generator, accuracy))
        for index, accuracy in enumerate((0.6, 0.603, 0.68, 0.74))
    )
    assert finals.select_winner(config, [], FOLDS) is config
    assert finals.select_winner(config, [level], FOLDS) is config
    assert finals.select_winner(config, [level, better], FOLDS) is better
    assert finals.select_winner(config, [best, better], FOLDS) is best
    summary = finals.summary(better, config, FOLDS)
    assert summary["gain"] > summary["margin_of_error"] > 0
    assert len(summary["fold_accuracy"]) == 5
    assert np.mean(summary["fold_accuracy"]) == pytest.approx(summary["mean"], abs=1e-6)


def test_folds_are_of_equal_size_and_keep_equal_faces_together(faces):
    doubled = faces[np.r_[0:70, 0:70, 0:70]]
    folds = finals.split_folds(doubled, 5, 0)
    assert np.bincount(folds).tolist() == [3 * 14] * 5
    assert (folds[:70] == folds[70:140]).all()
    assert (folds == finals.split_folds(doubled, 5, 0)).all()
    assert (folds != finals.split_folds(doubled, 5, 1)).any()
    with pytest.raises(FerError, match="there are only 70 different training faces"):
        finals.split_folds(doubled, 71, 0)


def test_each_fold_is_held_out_once_with_another_seed(faces):
    given_task = task(faces, CONFIG.with_values({"train.seed": 2**32 - 1}))
    trial = Trial(3, space().baseline_values | {"train.lr": 0.05}, 0.5)
    folds = finals.split_folds(faces, 3, 0)
    runs = list(finals.runs(given_task, trial, folds))
    assert [config.train.seed for _, _, config in runs] == [2**32 - 1, 0, 1]
    assert {config.train.lr for _, _, config in runs} == {0.05}
    assert (sum(held_out.astype(int) for held_out, _, _ in runs) == 1).all()
    for held_out, others, _ in runs:
        assert not is_in(faces[held_out], others.train).any()
        assert len(others.train) + held_out.sum() == len(faces)
    actual = finals.train(given_task, trial, folds, 1, track)
    again = finals.train(given_task, trial, folds, 1, track)
    assert actual.correct.shape == (70,)
    assert (actual.correct == again.correct).all()


def test_trial_that_diverges_in_the_finals_is_out(faces, capsys):
    trial = Trial(3, space().baseline_values | {"train.lr": 1e30}, 0.5)
    assert finals.train(task(faces), trial, np.arange(70) % 2, 1, track) is None
    assert "warning: train.lr is 1e+30" in capsys.readouterr().err


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
    ("make", "message"),
    [
        (lambda _: "postgresql+psycopg://me:secret@127.0.0.1:1/x", "onnection"),
        (lambda _: "postgresql+psycopg://me:my@secret@127.0.0.1:1/x", "write an @ in its password"),
        (lambda _: "postgresql+psycopg://me@127.0.0.1:1/x?password=secret", "onnection"),
        (lambda _: "postgresql+psycopg://me:secret@127.0.0.1:port/x", "port"),
        (lambda _: "nosuch://host/x", "nosuch"),
        (lambda _: "postgresql+nosuch://me:secret@host/x", "nosuch"),
        (lambda _: "not a url", "URL"),
        (lambda _: "sqlite:////dev/null/x.db", "/dev/null"),
        (no_database, "not a database"),
        (incompatible, "no longer compatible"),
    ],
)
def test_storage_that_cannot_be_used_is_one_line(faces, tmp_path, make, message):
    with pytest.raises(FerError, match=r"^settings\.storage is .*: ") as error:
        search(task(faces), make(tmp_path))
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert "secret" not in str(error.value)


def test_database_that_breaks_during_the_search_is_one_line(faces, tmp_path):
    @contextlib.contextmanager
    def break_it(name, values):
        with contextlib.closing(sqlite3.connect(tmp_path / "x.db")) as database, database:
            database.execute("DROP TABLE trial_values")
        yield SimpleNamespace(log=lambda figures: None)

    with pytest.raises(FerError, match=r"cannot be used: .*no such table"):
        search(task(faces), f"sqlite:///{tmp_path}/x.db", break_it)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE trial_values SET value = value + 0.125",
        "UPDATE trial_params SET param_value = param_value * 1.25",
        "UPDATE trial_params SET distribution_json = replace(distribution_json, 'name', 'nbme')",
        "UPDATE trials SET state = 'COMPLETF'",
    ],
)
def test_trials_that_are_not_what_was_written_are_one_line(faces, tmp_path, change):
    url, budget = f"sqlite:///{tmp_path}/x.db", BUDGET.model_copy(update={"trials": 1})
    search(task(faces), url, budget=budget)
    with contextlib.closing(sqlite3.connect(tmp_path / "x.db")) as database, database:
        database.execute(change)
    with pytest.raises(FerError, match=r"/x\.db, which .*move it away, and the search starts anew"):
        search(task(faces), url, budget=budget)


def test_waiting_trial_that_is_not_what_was_drawn_is_one_line(faces, tmp_path):
    url = f"sqlite:///{tmp_path}/x.db"

    def stop(*_, **__):
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(searching.SearchTask, "run", stop)
        with pytest.raises(KeyboardInterrupt):
            search(task(faces), url)
    with contextlib.closing(sqlite3.connect(tmp_path / "x.db")) as database, database:
        database.execute("UPDATE trial_params SET param_value = param_value * 0.75")
    with pytest.raises(FerError, match=r"/x\.db, which .* is damaged; .*move it away"):
        search(task(faces), url)


LOCK = """
import sqlite3, sys, time
database = sqlite3.connect(sys.argv[1])
database.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
time.sleep(float(sys.argv[2]))
"""


@contextlib.contextmanager
def locked(path, seconds):
    """Let another process lock a database."""
    command = [sys.executable, "-c", LOCK, str(path), str(seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        yield process
        process.kill()


def test_locked_database_names_its_process(faces, tmp_path, monkeypatch):
    url = f"sqlite:///{tmp_path}/x.db"
    search(task(faces), url, budget=BUDGET.model_copy(update={"trials": 1}))
    monkeypatch.setattr(searching, "_LOCK_SECONDS", 0.2)
    message = r"/x\.db, which was locked for 0\.2 s by process {}.*; wait until it ends, or stop it"
    with (
        locked(tmp_path / "x.db", 60) as process,
        pytest.raises(FerError, match=message.format(process.pid)),
    ):
        search(task(faces), url)


@pytest.mark.slow
def test_search_waits_for_a_locked_database(faces, tmp_path):
    url, budget = f"sqlite:///{tmp_path}/x.db", BUDGET.model_copy(update={"trials": 1})
    search(task(faces), url, budget=budget)
    with locked(tmp_path / "x.db", 8):  # longer than SQLite's default of 5 seconds
        assert len(search(task(faces), url, budget=budget)) == 1


WORKER = """
import contextlib, sys, time
from types import SimpleNamespace
import numpy as np
from test_search import task, search
from fer.tuning import search as searching
from fer.core.faces import Faces
searching._HEARTBEAT_INTERVAL, searching._GRACE_PERIOD = 1, 3
generator = np.random.default_rng(0)
images = generator.integers(0, 256, (70, 48, 48), dtype=np.uint8)
faces = Faces(images, np.repeat(np.arange(7, dtype=np.uint8), 10), tuple("abcdefg"))

@contextlib.contextmanager
def slow(name, values):
    print("begin", name, flush=True)
    yield SimpleNamespace(log=lambda figures: time.sleep(float(sys.argv[2])))

for trial in search(task(faces), sys.argv[1], slow):
    print("end", trial, flush=True)
"""


def worker(storage, seconds_an_epoch):
    return subprocess.Popen(
        [sys.executable, "-c", WORKER, storage, str(seconds_an_epoch)],
        cwd=Path(__file__).parent,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )


def lines(output, first):
    return [line for line in output.splitlines() if line.startswith(first)]


@pytest.mark.slow
def test_killed_search_ends_as_an_undisturbed_one(tmp_path):
    expected, _ = worker(f"sqlite:///{tmp_path}/a.db", 0).communicate(timeout=100)
    shutil.rmtree(tmp_path / ".checkpoints")
    draw, sqlite = random.Random(0), f"sqlite:///{tmp_path}/b.db"
    for _ in range(3):
        process = worker(sqlite, 0.3)
        process.stdout.readline()  # it works
        time.sleep(draw.uniform(0, 2))
        process.kill()
        process.wait()
        process.stdout.close()
    actual, _ = worker(sqlite, 0).communicate(timeout=100)
    assert lines(actual, "end") == lines(expected, "end")
    assert len(lines(actual, "end")) == 6


@pytest.mark.filterwarnings("ignore:Heartbeat of storage")
def test_trial_that_was_killed_before_its_first_sign_of_life_is_taken_up(
    faces, sqlite, monkeypatch
):
    monkeypatch.setattr(searching, "_GRACE_PERIOD", 1)
    given_task = task(faces)
    opened, storage = searching._open(f"noise-{given_task.key(2)}", sqlite)
    searching._enqueue_generation(opened, storage, given_task.space, [], 6)
    opened.ask()  # and then nothing
    assert len(search(given_task, sqlite)) == 6


def postgres_programs():
    """The folder of PostgreSQL's programs."""
    debian = next(iter(glob.glob("/usr/lib/postgresql/*/bin/initdb")), None)
    actual = debian or shutil.which("initdb")
    if not actual:
        pytest.skip("PostgreSQL's initdb is not installed (Debian: apt-get install postgresql)")
    return Path(actual).parent


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
def test_two_processes_share_a_search_in_postgresql(postgres):
    workers = [worker(postgres, 0.3) for _ in range(2)]
    outputs = [process.communicate(timeout=100)[0] for process in workers]
    assert [process.returncode for process in workers] == [0, 0]
    begun = [lines(output, "begin") for output in outputs]
    assert all(begun)  # both had some
    assert sorted(begun[0] + begun[1]) == [f"begin trial-{n}" for n in range(6)]
    assert lines(outputs[0], "end") == lines(outputs[1], "end")
