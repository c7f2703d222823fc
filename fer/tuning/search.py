"""The trials of the search, kept in a database: a stopped search goes on, machines can share it."""

import hashlib
import json
import sqlite3
import warnings
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import optuna
import torch
from optuna.distributions import distribution_to_json
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.samplers import BaseSampler, PartialFixedSampler, TPESampler
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import URL, make_url
from sqlalchemy.exc import SQLAlchemyError

from fer.core.errors import FerError
from fer.core.faces import Faces
from fer.core.params import Damage, TrainingConfig, Tune, Value, repository_root
from fer.training import workflow
from fer.training.fit import DivergedError
from fer.training.history import best_epoch, val_score
from fer.training.model_file import Weights
from fer.training.run import TrainingRun
from fer.training.workflow import Track

optuna.logging.set_verbosity(optuna.logging.ERROR)  # its lines on a failed trial have tracebacks
warnings.filterwarnings("ignore", category=ExperimentalWarning)  # heartbeats, multivariate TPE

_FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
"""States of a finished trial; pruned trials are those that diverged."""

_HEARTBEAT_INTERVAL, _GRACE_PERIOD = 5, 30
"""Seconds between heartbeats of a running trial, and without one until it counts as failed."""

_LOCK_SECONDS = 10
"""Seconds to wait while another process locks an SQLite database."""


@dataclass(frozen=True)
class SearchTask:
    """The baseline configuration, the space to search around it, and how to train.

    Epochs are selected and trials are ranked on `val`, which is val without duplicates.
    """

    config: TrainingConfig
    tune: Tune
    train: Faces
    val: Faces
    device: torch.device
    init: Weights | None = None
    damage: Damage | None = None

    @property
    def baseline(self) -> dict[str, Value]:
        """The baseline's values of the searched parameters, by path such as "train.lr"."""
        return {name: self.config.get(name) for name in self.tune.space}

    def training(self, values: dict[str, Value], epochs: int) -> TrainingRun:
        """Return the training of the baseline configuration with other values."""
        config = self.config.with_values(values)
        options = {"init": self.init, "damage": self.damage}
        return TrainingRun(config, self.train, self.val, epochs, self.device, **options)

    def study_name(self, dataset: str, epochs: int) -> str:
        """Return a name that depends on all that the trials depend on, except the machine."""
        run = self.training({}, epochs).key
        content = f"{run} {self.tune.seed} {self.tune.space!r}"
        return f"{dataset}-{hashlib.sha256(content.encode()).hexdigest()[:16]}"

    def sampler(self, number: int, trials: Sequence[FrozenTrial]) -> BaseSampler:
        """Return what draws the values of a trial: the baseline's if no earlier trial has them.

        The seed and this choice follow from the number of the trial, which no other process has. A
        trial of `enqueue_trial` could be taken by two processes that share an SQLite file.
        """
        seed = int(np.random.SeedSequence([self.tune.seed, number]).generate_state(1)[0])
        # Bergstra et al. 2011, NeurIPS 24; multivariate: Falkner et al. 2018, arXiv:1807.01774.
        sampler = TPESampler(n_startup_trials=4, multivariate=True, seed=seed)
        earlier = [t.params for t in trials if t.number < number and t.state != TrialState.FAIL]
        # A trial that has just begun may have no or few values yet.
        if any(params.items() <= self.baseline.items() for params in earlier):
            return sampler
        return PartialFixedSampler(self.baseline, sampler)

    def suggest(self, trial: optuna.Trial) -> dict[str, Value]:
        """Draw the values of a trial. Each range or list of choices includes the baseline."""
        values = {}
        for name, baseline in self.baseline.items():
            dimension = self.tune.space[name].including(baseline)
            if dimension.choices:
                values[name] = trial.suggest_categorical(name, dimension.choices)
            else:
                suggest = trial.suggest_int if isinstance(baseline, int) else trial.suggest_float
                values[name] = suggest(name, dimension.low, dimension.high, log=dimension.log)
        return values


def search(
    task: SearchTask, study_name: str, epochs: int, storage: str, track: Track
) -> list[FrozenTrial]:
    """Run the trials that the storage lacks; return the first `task.tune.trials`, by number.

    Several processes may share the storage. A trial of a killed process fails half a minute later,
    and the next process repeats it. The value of a trial is its score on val, 0 to 1, or None if it
    diverged.
    """

    def objective(trial: optuna.Trial) -> float:
        study.sampler = task.sampler(trial.number, study.trials)
        run = task.training(task.suggest(trial), epochs)
        try:
            _, history = workflow.train(track, f"trial-{trial.number}", run, quiet=True)
        except DivergedError as error:
            print(f"trial {trial.number}: diverged with {trial.params}", flush=True)
            raise optuna.TrialPruned(str(error)) from error
        score = val_score(best_epoch(history))
        print(f"trial {trial.number}: {score:.1%} with {trial.params}", flush=True)
        return score

    url, count = _parse_url(storage), task.tune.trials
    try:
        study = _open(study_name, url)
        if finished := _finished(study):
            print(f"going on after {len(finished)} finished trials", flush=True)
        while len(_finished(study)) < count:  # those of all processes
            study.optimize(objective, n_trials=1)
        for trial in _finished(study):
            task.training(trial.params, epochs).checkpoint.unlink(missing_ok=True)
        trials = _finished(study)[:count]
    except (SQLAlchemyError, StorageInternalError) as error:
        raise _storage_error(url, error) from error
    if all(trial.value is None for trial in trials):
        raise FerError("tune.space: every trial diverged; try lower learning rates")
    return trials


def table(trials: Sequence[FrozenTrial]) -> list[dict[str, Value]]:
    """Return a row per trial that did not diverge: "trial", "val_score" and its parameters."""
    measured = [trial for trial in trials if trial.value is not None]
    return [{"trial": t.number, "val_score": t.value} | t.params for t in measured]


def distributions(trials: Sequence[FrozenTrial]) -> dict[str, object]:
    """Return the range or choices of each parameter in Optuna's format, as plain JSON."""
    items = trials[0].distributions.items()
    return {name: json.loads(distribution_to_json(distribution)) for name, distribution in items}


def _parse_url(storage: str) -> URL:
    """Parse `settings.storage`; a relative path of SQLite starts at the repository."""
    try:
        url = make_url(storage)
    except (SQLAlchemyError, ValueError):  # their texts may have the password
        raise FerError(
            "settings.storage is no URL of a database; write one such as sqlite:///studies.db"
        ) from None
    if "@" in (url.host or ""):  # the part before it is of the password
        raise FerError("settings.storage: the password has an @; write it as %40")
    if url.get_backend_name() == "sqlite" and url.database:
        url = url.set(database=str(repository_root() / url.database))
    return url


def _open(name: str, url: URL) -> optuna.Study:
    """Open a study, and create it if there is none."""
    options = {
        "url": url.render_as_string(hide_password=False),
        "heartbeat_interval": _HEARTBEAT_INTERVAL,
        "grace_period": _GRACE_PERIOD,
        "heartbeat_stale_trial_callback": RetryHeartbeatStaleTrialCallback(),
    }
    try:
        if url.get_backend_name() == "sqlite":
            Path(url.database or "").parent.mkdir(parents=True, exist_ok=True)
            options["engine_kwargs"] = {"connect_args": {"timeout": _LOCK_SECONDS}}
            _say_if_locked(url.database or "")
        try:
            storage = RDBStorage(**options)
        except SQLAlchemyError:  # two processes may create the tables at the same time
            storage = RDBStorage(**options)
    except (ImportError, OSError, RuntimeError) as error:  # no driver, another version of Optuna
        raise _storage_error(url, error) from error
    return optuna.create_study(
        study_name=name, storage=storage, direction="maximize", load_if_exists=True
    )


def _say_if_locked(path: str) -> None:
    """Print for whom the search waits, because Optuna tries for minutes without a word."""
    try:
        with closing(sqlite3.connect(path, timeout=_LOCK_SECONDS / 2)) as database:
            database.execute("BEGIN IMMEDIATE")
    except sqlite3.DatabaseError as error:  # also of a damaged file, which Optuna reports
        if "locked" in str(error):
            print(f"waiting for the process that locks {path}", flush=True)


def _finished(study: optuna.Study) -> list[FrozenTrial]:
    return study.get_trials(deepcopy=False, states=_FINISHED)


def _storage_error(url: URL, error: Exception) -> FerError:
    """Return the error of one line, without the password."""
    shown = url.set(query={}).render_as_string(hide_password=True)  # a query may have one too
    cause = error.__cause__ or error
    reason = " ".join(str(getattr(cause, "orig", cause)).split())
    return FerError(
        f"settings.storage is {shown}, which cannot be used: {reason}; correct the URL, wait for "
        "the process that locks it, or move a damaged file away"
    )
