"""The short runs of the search: shared by processes and machines, and kept so that it can go on.

What a trial draws depends on its place in the search, not on who runs it, when, or how often it was
begun: a search that was stopped ends as it would have without.
"""

import hashlib
import re
import sys
import time
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import optuna
import torch
from optuna.exceptions import (
    DuplicatedStudyError,
    ExperimentalWarning,
    StorageInternalError,
    UpdateFinishedTrialError,
)
from optuna.storages import RDBStorage, fail_stale_trials
from optuna.storages._heartbeat import get_heartbeat_thread
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import URL, make_url
from sqlalchemy.exc import SQLAlchemyError
from tqdm import tqdm

from fer.errors import FerError
from fer.faces import Faces
from fer.params import Recipe, Search, home
from fer.training import runs
from fer.training.fit import DivergedError, best_epoch, checkpoint_path
from fer.training.initial import Weights
from fer.training.networks import Network
from fer.training.runs import Track
from fer.tuning.space import GENERATION, Space, Trial

_FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)  # the latter are those that diverged
_BEAT, _GRACE = 5, 30
"""Seconds between the signs of life of a trial, and without one until it counts as failed."""


@dataclass(frozen=True)
class Task:
    """What is searched, and from where.

    recipe: trial 0
    space: where the others may be
    device: where they are trained
    init: the weights that they start from; None for random ones
    """

    train: Faces
    val: Faces
    recipe: Recipe
    space: Space
    device: torch.device
    init: Weights | None = None

    def checkpoint(self, recipe: Recipe, epochs: int) -> Path:
        """Where the state of such a run is kept."""
        return checkpoint_path(recipe, self.train, self.val, epochs, init=self.init)

    def run(
        self, name: str, recipe: Recipe, epochs: int, track: Track, *, quiet: bool
    ) -> tuple[Network, list[dict[str, float]]]:
        """What `fit` returns, for a run that goes on where it was stopped.

        Raises DivergedError.
        """
        state = self.checkpoint(recipe, epochs)
        given = (name, recipe, self.train, self.val, epochs, self.device)
        return runs.run(track, *given, checkpoint=state, init=self.init, quiet=quiet)

    def forget(self, recipes: Iterable[Recipe], epochs: int) -> None:
        """Remove what is kept of such runs."""
        for recipe in recipes:
            self.checkpoint(recipe, epochs).unlink(missing_ok=True)

    def key(self, epochs: int) -> str:
        """A digest of what the trials' results depend on, of any machine."""
        run = self.checkpoint(self.recipe, epochs).stem
        digest = hashlib.sha256(f"{run} {self.space.seed} {self.space.dimensions!r}".encode())
        for path in sorted(Path(__file__).parent.glob("*.py")):
            digest.update(path.read_bytes())
        return digest.hexdigest()[:16]


def search(task: Task, dataset: str, budget: Search, url: str, track: Track) -> list[Trial]:
    """The first `budget.trials` trials of the task in the order of their places.

    Those that the storage at `url` does not have yet are run until the minutes of this call are
    over; these cut no trial short. Several processes may share the storage, on machines of any
    kind: each takes the next place that is free, and waits where only those of others are left.
    Another space, recipe, data, code or length of a trial is another search.

    Raises FerError where the storage cannot be used, or no trial came to an end.
    """
    deadline = time.monotonic() + 60 * budget.minutes
    with (
        _storage_errors(url),
        tqdm(total=budget.trials, unit="trial", disable=None) as bar,
    ):
        study, storage = _open(f"{dataset}-{task.key(budget.epochs)}", url)
        trials = _finished(study)
        if trials:
            _say(f"going on after {len(trials)} finished trials")
        while len(trials) < budget.trials:
            bar.update(len(trials) - bar.n)
            if time.monotonic() > deadline and any(t.accuracy is not None for t in trials):
                _say(f"stopped after {budget.minutes:g} minutes and {len(trials)} trials")
                break
            fail_stale_trials(study)
            _queue(study, storage, task.space, trials, budget.trials)
            place = _take_one(study, storage, task, budget.epochs, track)
            if place is None:
                time.sleep(1)
            trials = _finished(study)
            for trial in trials:
                if trial.place == place:
                    _say(_line(trials, trial, budget.trials))
    trials = trials[: budget.trials]
    if all(trial.accuracy is None for trial in trials):
        raise FerError("tune: no trial came to an end; try lower learning rates")
    return trials


def _open(name: str, url: str) -> tuple[optuna.Study, RDBStorage]:
    # LookupError, TypeError and ValueError: of trials that are not what was written.
    others = (ImportError, LookupError, OSError, RuntimeError, TypeError, ValueError)
    with _storage_errors(url, *others):
        place = _in_repository(make_url(url))
        try:
            storage = _connect(place)
        except SQLAlchemyError:  # maybe of two processes that made the tables at the same time
            time.sleep(1)
            storage = _connect(place)
        try:
            study = optuna.create_study(study_name=name, storage=storage, direction="maximize")
        except DuplicatedStudyError:
            study = optuna.load_study(study_name=name, storage=storage)
        study.get_trials(deepcopy=False)
        return study, storage


def _in_repository(url: URL) -> str:
    """The same, where SQLite's relative path starts at the repository; its folder is made."""
    if url.get_backend_name() == "sqlite" and url.database:
        path = home() / url.database
        path.parent.mkdir(parents=True, exist_ok=True)
        url = url.set(database=str(path))
    return url.render_as_string(hide_password=False)


def _connect(url: str) -> RDBStorage:
    return RDBStorage(url, heartbeat_interval=_BEAT, grace_period=_GRACE)


def _held(study: optuna.Study) -> dict[int, FrozenTrial]:
    """By place, in order, the trials that wait, run or are finished.

    Two processes may queue the same place at the same time: then the first in the storage counts.
    """
    live = study.get_trials(deepcopy=False)
    placed = [t for t in live if t.state != TrialState.FAIL and "place" in t.user_attrs]
    return {t.user_attrs["place"]: t for t in sorted(placed, key=_by_place, reverse=True)}


def _finished(study: optuna.Study) -> list[Trial]:
    held = [t for _, t in sorted(_held(study).items()) if t.state in _FINISHED]
    for trial in held:
        if trial.user_attrs.get("digest") != _digest(trial, trial.value):
            raise StorageInternalError(f"trial {trial.number} is not what was written")
    return [Trial(t.user_attrs["place"], t.params, t.value) for t in held]


def _digest(trial: optuna.Trial | FrozenTrial, accuracy: float | None) -> str:
    """Of a trial and what came of it: databases have no checksums of their own."""
    content = (trial.user_attrs.get("place"), sorted(trial.params.items()), accuracy)
    return hashlib.sha256(repr(content).encode()).hexdigest()


def _queue(
    study: optuna.Study, storage: RDBStorage, space: Space, finished: list[Trial], trials: int
) -> None:
    """Let those places of the present generation wait that nobody has."""
    first = len(finished) // GENERATION * GENERATION
    places = range(first, min(first + GENERATION, trials))
    for place in sorted(set(places) - set(_held(study))):
        values = space.draw(place, finished[:first])
        waiting = space.trial(values, state=TrialState.WAITING, user_attrs={"place": place})
        waiting.set_user_attr("drawn", _digest(waiting, None))
        study.add_trial(waiting)
    # A sign of life before anybody takes them: without any, Optuna takes a process that was killed
    # right afterwards to be alive for ever.
    for trial in study.get_trials(deepcopy=False, states=[TrialState.WAITING]):
        storage.record_heartbeat(trial._trial_id)


def _take_one(
    study: optuna.Study, storage: RDBStorage, task: Task, epochs: int, track: Track
) -> int | None:
    """Run one of the trials that wait; returns its place, None where there was none."""
    if not study.get_trials(deepcopy=False, states=[TrialState.WAITING]):
        return None
    trial = study.ask()
    accuracy, state = None, TrialState.FAIL
    try:
        if trial.number not in {own.number for own in _held(study).values()}:
            return None  # another process was faster
        place = trial.user_attrs["place"]
        if trial.user_attrs.get("drawn") != _digest(trial, None):
            raise StorageInternalError(f"trial {trial.number} is not what was drawn")
        with get_heartbeat_thread(trial._trial_id, storage):
            recipe = task.recipe.changed(trial.params)
            _, history = task.run(f"trial-{place}", recipe, epochs, track, quiet=True)
        accuracy, state = best_epoch(history)["val_accuracy"], TrialState.COMPLETE
    except DivergedError:
        state = TrialState.PRUNED
    finally:  # Ctrl-C too: the place is free again
        # Finished it is where it was taken for dead, such as by a machine that slept.
        with suppress(UpdateFinishedTrialError):
            trial.set_user_attr("digest", _digest(trial, accuracy))
            study.tell(trial, accuracy, state, skip_if_finished=True)
    return place


def _by_place(trial: FrozenTrial) -> tuple[int, int]:
    return trial.user_attrs["place"], trial.number


def _say(text: str) -> None:
    tqdm.write(text)
    sys.stdout.flush()


def _line(trials: list[Trial], trial: Trial, count: int) -> str:
    values = ", ".join(f"{name} {value}" for name, value in trial.values.items())
    text = f"trial {trial.place} of {count}: {values}: "
    text += "diverged" if trial.accuracy is None else f"{trial.accuracy:.1%}"
    done = [t for t in trials if t.accuracy is not None]
    if done:
        best = max(done, key=lambda t: t.accuracy)  # of equals, the first
        text += f"; best {best.accuracy:.1%} of trial {best.place}"
    return text


@contextmanager
def _storage_errors(url: str, *others: type[Exception]) -> Iterator[None]:
    """Make one line of what goes wrong with the storage at `url`, without its password."""
    shown = re.sub(r"://([^:/]*):.*@", r"://\1:***@", url)
    shown = re.sub(r"(password=)[^&]*", r"\1***", shown)
    # To SQLAlchemy, what follows a first @ is the host, which errors name.
    if shown.count("***") and url.count("@") > 1:
        raise FerError(f"settings.storage is {shown}: write an @ in its password as %40")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)  # the signs of life
            warnings.filterwarnings("ignore", message="Heartbeat of storage is supposed")
            yield
    except (SQLAlchemyError, StorageInternalError, *others) as error:
        cause = error.__cause__ or error
        reason = " ".join(str(getattr(cause, "orig", cause)).split())
        if url.startswith("sqlite"):
            reason += "; if the file is damaged, move it away, and the search starts anew"
        raise FerError(f"settings.storage is {shown}, which cannot be used: {reason}") from error
