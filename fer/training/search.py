"""The search for a better recipe: a study of short training runs, stored so that it can go on."""

import math
import re
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass

import optuna
import torch
from optuna.exceptions import DuplicatedStudyError, ExperimentalWarning, StorageInternalError
from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from optuna.pruners import SuccessiveHalvingPruner
from optuna.samplers import TPESampler
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import URL, make_url
from sqlalchemy.exc import SQLAlchemyError
from tqdm import tqdm

from fer.errors import FerError
from fer.faces import Faces
from fer.params import Dimension, Recipe, Search, Tune, Value, home
from fer.tracking import Run
from fer.training.fit import DivergedError, Row, best_epoch, fingerprint, fit

Track = Callable[[str, dict], AbstractContextManager[Run]]
"""From a trial's name and configuration to a block in which its epochs are logged."""

_FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
_BEAT, _GRACE = 5, 30
"""Seconds between the signs of life of a trial, and without one until it counts as failed."""


@dataclass(frozen=True)
class Task:
    """What is searched, and from where.

    recipe: trial 0
    tune: where the others may be
    epochs: of a trial
    device: where they are trained
    """

    train: Faces
    val: Faces
    recipe: Recipe
    tune: Tune
    epochs: int
    device: torch.device

    def space(self) -> dict[str, Dimension]:
        """The search space, each range and list of choices with the recipe's own value in it."""
        return {name: d.including(self.recipe.get(name)) for name, d in self.tune.space.items()}

    def start(self) -> dict[str, Value]:
        """The recipe's own values."""
        return {name: self.recipe.get(name) for name in self.tune.space}

    def values(self, trial: FrozenTrial) -> dict[str, Value]:
        """The parameters that `trial` trains with, numbers drawn from a range in three digits."""
        start, space = self.start(), self.space()
        return {
            name: value if value == start[name] else _in_three_digits(value, space[name])
            for name, value in trial.params.items()
        }


def open_study(task: Task, dataset: str, url: str) -> optuna.Study:
    """The study of `task` in the storage at `url`; another space, recipe, data or code is another.

    Raises FerError where the storage cannot be used.
    """
    key = fingerprint(task.recipe, task.train, task.val, task.tune, task.epochs)
    with _storage_errors(url, ImportError, OSError, RuntimeError, ValueError):
        url = _in_repository(make_url(url))
        try:
            storage = _connect(url)
        except SQLAlchemyError:  # maybe of two processes that made the tables at the same time
            time.sleep(1)
            storage = _connect(url)
        name = f"{dataset}-{key[:16]}"
        # A trial counts at a rung by its best epoch so far: a single epoch says little at a high
        # learning rate.
        pruner = SuccessiveHalvingPruner(min_resource=max(1, task.epochs // 4), reduction_factor=2)
        try:
            study = optuna.create_study(
                study_name=name, storage=storage, direction="maximize", pruner=pruner
            )
        except DuplicatedStudyError:
            study = optuna.load_study(study_name=name, storage=storage, pruner=pruner)
        if not study.get_trials(deepcopy=False):
            study.enqueue_trial(task.start())
        return study


def search(study: optuna.Study, task: Task, budget: Search, url: str, track: Track) -> None:
    """Run trials until `budget.trials` of the study are finished, or the minutes are over.

    The minutes are those of this call; they cut no trial short.

    Several processes may do so at a time: each takes trials until none is left to begin (together
    they may begin one too many each), and waits until those of the others are finished.

    Raises FerError where the storage cannot be used any longer, or no trial came to an end.
    """
    deadline = time.monotonic() + 60 * budget.minutes
    with (
        _storage_errors(url),
        tqdm(total=budget.trials, unit="trial", disable=None) as bar,
    ):

        def show(study: optuna.Study, trial: FrozenTrial) -> None:
            bar.n = count(study, *_FINISHED)
            _say(_line(study, task, trial, budget.trials))

        bar.n = count(study, *_FINISHED)
        if bar.n:
            _say(f"going on after {bar.n} finished trials")
        while (finished := count(study, *_FINISHED)) < budget.trials:
            if time.monotonic() > deadline and count(study, TrialState.COMPLETE):
                _say(f"stopped after {budget.minutes:g} minutes and {finished} trials")
                break
            if count(study, *_FINISHED, TrialState.RUNNING) < budget.trials:
                study.optimize(lambda t: _run(study, task, t, track), 1, callbacks=[show])
            else:
                time.sleep(1)
                optuna.storages.fail_stale_trials(study)
        if not count(study, TrialState.COMPLETE):
            raise FerError("tune: no trial came to an end; try lower learning rates")


def count(study: optuna.Study, *states: TrialState) -> int:
    """Number of trials in any of `states`."""
    return len(study.get_trials(deepcopy=False, states=states))


def counts(study: optuna.Study) -> dict[str, int]:
    """Trials of the study by how they ended."""
    states = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
    return {state.name.lower(): count(study, state) for state in states}


def table(study: optuna.Study, task: Task) -> list[dict[str, Value]]:
    """The finished trials in order, a row each: what came out, then the parameters.

    The accuracy is that of the best epoch, of a pruned trial until then; `best` is that of the
    finished trials so far, None where there is none. Without the trials that
    diverged in their first epoch, and so have none.
    """
    rows: list[dict[str, Value | None]] = []
    best = None
    for trial in study.get_trials(deepcopy=False, states=_FINISHED):
        if not trial.intermediate_values:
            continue
        accuracy = _accuracy(trial)
        if trial.state == TrialState.COMPLETE:
            best = max(best or 0.0, round(accuracy, 6))
        rows.append(
            {
                "trial": trial.number,
                "state": trial.state.name.lower(),
                "epochs": len(trial.intermediate_values),
                "val_accuracy": round(accuracy, 6),
                "best": best,
                **task.values(trial),
            }
        )
    return rows


def positions(rows: list[dict[str, Value]], task: Task) -> list[dict[str, Value]]:
    """The rows of `table` with a row for each parameter, and its position, 0 to 1, in its range."""
    common = ("trial", "state", "val_accuracy")
    return [
        {k: row[k] for k in common}
        | {"parameter": name, "value": row[name], "position": _position(dimension, row[name])}
        for row in rows
        for name, dimension in task.space().items()
    ]


def scales(task: Task) -> dict[str, dict[str, float]]:
    """Of each parameter, the positions (0 to 1) of its choices, or of the ends of its range.

    Such as {"train.lr": {"0.03": 0.0, "0.6": 1.0}}.
    """
    return {
        name: {str(value): _position(d, value) for value in d.choices or (d.low, d.high)}
        for name, d in task.space().items()
    }


def importance(study: optuna.Study, task: Task) -> dict[str, float]:
    """Share of each parameter in the variance of the accuracy among completed trials, 0 to 1.

    By fANOVA (Hutter, Hoos and Leyton-Brown 2014, PMLR 32:754-762). 0 where the trials
    are too few or too alike to tell.
    """
    shares = dict.fromkeys(task.tune.space, 0.0)
    if count(study, TrialState.COMPLETE) > 1:
        evaluator = FanovaImportanceEvaluator(seed=task.tune.seed)
        with suppress(RuntimeError):  # where all trials came to the same accuracy
            shares |= get_param_importances(study, evaluator=evaluator)
    tried = [trial.params for trial in study.get_trials(deepcopy=False, states=_FINISHED)]
    varied = {name for name in shares if len({params.get(name) for params in tried}) > 1}
    return {name: share if name in varied else 0.0 for name, share in shares.items()}


def _in_repository(url: URL) -> str:
    """The same, where SQLite's relative path starts at the repository; its folder is made."""
    if url.get_backend_name() == "sqlite" and url.database:
        path = home() / url.database
        path.parent.mkdir(parents=True, exist_ok=True)
        url = url.set(database=str(path))
    return url.render_as_string(hide_password=False)


def _connect(url: str) -> RDBStorage:
    return RDBStorage(
        url,
        heartbeat_interval=_BEAT,
        grace_period=_GRACE,
        heartbeat_stale_trial_callback=RetryHeartbeatStaleTrialCallback(),
    )


def _run(study: optuna.Study, task: Task, trial: optuna.Trial, track: Track) -> float:
    """Accuracy on val of a short training run."""
    # By its number, so that no two processes, and no run that goes on, draw the same again.
    study.sampler = TPESampler(seed=task.tune.seed + trial.number)
    for name, dimension in task.space().items():
        _suggest(trial, name, dimension, task.recipe.get(name))
    recipe = task.recipe.changed(task.values(trial))

    def on_epoch(history: list[Row]) -> None:
        run.log(history[-1])
        accuracy = best_epoch(history)["val_accuracy"]
        trial.report(accuracy, len(history))
        if len(history) < task.epochs and trial.should_prune():
            raise optuna.TrialPruned

    try:
        with track(f"trial-{trial.number}", recipe.model_dump()) as run:
            _, history = fit(
                recipe,
                task.train,
                task.val,
                task.epochs,
                task.device,
                on_epoch=on_epoch,
                quiet=True,
            )
    except DivergedError as error:
        raise optuna.TrialPruned from error
    except optuna.TrialPruned:
        raise
    except BaseException:  # Ctrl-C too: the run that goes on takes this trial up again
        RetryHeartbeatStaleTrialCallback()(study, study.trials[trial.number])
        raise
    return best_epoch(history)["val_accuracy"]


def _say(text: str) -> None:
    tqdm.write(text)
    sys.stdout.flush()


def _suggest(trial: optuna.Trial, name: str, dimension: Dimension, own: Value) -> None:
    if dimension.choices:
        trial.suggest_categorical(name, dimension.choices)
    elif isinstance(own, int):
        trial.suggest_int(name, dimension.low, dimension.high, log=dimension.log)
    else:
        trial.suggest_float(name, dimension.low, dimension.high, log=dimension.log)


def _in_three_digits(value: Value, dimension: Dimension) -> Value:
    if dimension.choices or not isinstance(value, float):
        return value
    return min(max(float(f"{value:.3g}"), dimension.low), dimension.high)


def _position(dimension: Dimension, value: Value) -> float:
    if dimension.choices:
        return dimension.choices.index(value) / max(1, len(dimension.choices) - 1)
    if dimension.low == dimension.high:
        return 0.0
    scale = math.log if dimension.log else float
    low, high = scale(dimension.low), scale(dimension.high)
    return round((scale(value) - low) / (high - low), 4)


def _accuracy(trial: FrozenTrial) -> float:
    return trial.intermediate_values[trial.last_step]


def _line(study: optuna.Study, task: Task, trial: FrozenTrial, trials: int) -> str:
    values = ", ".join(f"{name} {value}" for name, value in task.values(trial).items())
    text = f"trial {trial.number} of {trials}: {values}: "
    text += f"{_accuracy(trial):.1%}" if trial.intermediate_values else "diverged"
    if trial.state == TrialState.PRUNED and trial.intermediate_values:
        text += f", pruned after epoch {len(trial.intermediate_values)}"
    if count(study, TrialState.COMPLETE):
        text += f"; best {study.best_value:.1%} of trial {study.best_trial.number}"
    return text


@contextmanager
def _storage_errors(url: str, *others: type[Exception]) -> Iterator[None]:
    """Make one line of what goes wrong with the storage at `url`."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)  # the signs of life
            yield
    except (SQLAlchemyError, StorageInternalError, *others) as error:
        url = re.sub(r"://([^:/]*):.*@", r"://\1:***@", url)  # no password in a log
        reason = " ".join(str(error.__cause__ or error).split())
        raise FerError(f"settings.storage is {url}, which cannot be used: {reason}") from error
    finally:
        optuna.logging.set_verbosity(verbosity)
