"""The trials of the search, kept in a database: it resumes, and several machines can share it.

The parameters of a trial depend on its index, not on which process runs it or when. A search that
was stopped and resumed therefore ends with the same trials.
"""

import hashlib
import os
import re
import sys
import textwrap
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

from fer.core.errors import FerError
from fer.core.faces import Faces
from fer.core.params import TrainingConfig, repository_root
from fer.training import workflow
from fer.training.fit import DivergedError
from fer.training.history import best_epoch
from fer.training.initial import Weights
from fer.training.run import TrainingRun
from fer.training.workflow import Track
from fer.tuning.space import GENERATION, Space, Trial

_FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
"""States of a finished trial; pruned trials are those that diverged."""

_HEARTBEAT_INTERVAL, _GRACE_PERIOD = 5, 30
"""Seconds between heartbeats of a running trial, and without one until it counts as failed."""

_LOCK_SECONDS = 60.0
"""Seconds to wait until another process no longer locks the database."""


@dataclass(frozen=True)
class SearchTask:
    """What is searched.

    Attributes:
        train: The faces to train on.
        val: The faces that measure accuracy: val without duplicates.
        config: The baseline configuration, which is trial 0.
        space: What the other trials draw from.
        device: Where trials are trained.
        init: Initial weights; None for random ones.
    """

    train: Faces
    val: Faces
    config: TrainingConfig
    space: Space
    device: torch.device
    init: Weights | None = None

    def training(self, config: TrainingConfig, epochs: int) -> TrainingRun:
        """Return the training of a configuration."""
        return TrainingRun(config, self.train, self.val, epochs, self.device, init=self.init)

    def remove_checkpoints(self, configs: Iterable[TrainingConfig], epochs: int) -> None:
        """Remove the states of finished runs."""
        for config in configs:
            self.training(config, epochs).checkpoint.unlink(missing_ok=True)

    def key(self, epochs: int) -> str:
        """Return a digest of all that the results of the trials depend on, except the machine.

        Args:
            epochs: Epochs per trial.
        """
        run = self.training(self.config, epochs).key
        digest = hashlib.sha256(f"{run} {self.space.seed} {self.space.dimensions!r}".encode())
        for path in sorted(Path(__file__).parent.glob("*.py")):
            digest.update(path.read_bytes())
        return digest.hexdigest()[:16]


def search(
    task: SearchTask, dataset: str, count: int, epochs: int, url: str, track: Track
) -> list[Trial]:
    """Run the trials that the storage does not have yet, and return all, sorted by index.

    Several processes may share the storage. Each takes the next free index, and waits while only
    trials of other processes are left. Another space, baseline, data set, code or number of epochs
    is another search.

    Args:
        task: What is searched.
        dataset: Name of the data set.
        count: Number of trials.
        epochs: Epochs per trial.
        url: SQLAlchemy URL of the storage.
        track: Starts the run that is logged for each trial.

    Returns:
        The finished trials, among them those that diverged (their accuracy is None).

    Raises:
        FerError: If the storage cannot be used, or every trial diverged.
    """
    with (
        _storage_errors(url),
        tqdm(total=count, unit="trial", disable=None) as bar,
    ):
        study, storage = _open(f"{dataset}-{task.key(epochs)}", url)
        trials = _finished(study, count)
        if trials:
            _print_line(f"going on after {len(trials)} finished trials")
        while len(trials) < count:
            bar.update(len(trials) - bar.n)
            fail_stale_trials(study)
            _enqueue_generation(study, storage, task.space, trials, count)
            index = _run_waiting_trial(study, storage, task, epochs, track)
            if index is None:
                time.sleep(1)
            trials = _finished(study, count)
            for trial in trials:
                if trial.index == index:
                    _print_line(_format_trial(trials, trial, count))
    if all(trial.accuracy is None for trial in trials):
        raise FerError("tune.space: every trial diverged; try lower learning rates")
    return trials


def _open(name: str, url: str) -> tuple[optuna.Study, RDBStorage]:
    # Damaged trials raise LookupError, TypeError or ValueError.
    errors = (ImportError, LookupError, OSError, RuntimeError, TypeError, ValueError)
    with _storage_errors(url, *errors):
        absolute_url = _in_repository(make_url(url))
        try:
            storage = _connect(absolute_url)
        except SQLAlchemyError:  # two processes may create the tables at the same time
            time.sleep(1)
            storage = _connect(absolute_url)
        try:
            study = optuna.create_study(study_name=name, storage=storage, direction="maximize")
        except DuplicatedStudyError:
            study = optuna.load_study(study_name=name, storage=storage)
        study.get_trials(deepcopy=False)
        return study, storage


def _in_repository(url: URL) -> str:
    """Make SQLite's relative path start at the repository, and create its folder."""
    if url.get_backend_name() == "sqlite" and url.database:
        path = repository_root() / url.database
        path.parent.mkdir(parents=True, exist_ok=True)
        url = url.set(database=str(path))
    return url.render_as_string(hide_password=False)


def _connect(url: str) -> RDBStorage:
    return RDBStorage(
        url,
        engine_kwargs={"connect_args": {"timeout": _LOCK_SECONDS}} if _is_sqlite(url) else None,
        heartbeat_interval=_HEARTBEAT_INTERVAL,
        grace_period=_GRACE_PERIOD,
    )


def _trials_by_index(study: optuna.Study) -> dict[int, FrozenTrial]:
    """Return the trials that wait, run or are finished, by index.

    Two processes may queue the same index at the same time. Then the first in the storage counts.
    """
    trials = study.get_trials(deepcopy=False)
    valid = [t for t in trials if t.state != TrialState.FAIL and "index" in t.user_attrs]
    return {t.user_attrs["index"]: t for t in sorted(valid, key=_by_index, reverse=True)}


def _finished(study: optuna.Study, count: int) -> list[Trial]:
    """Return the finished trials among the first `count`, by index."""
    by_index = sorted(_trials_by_index(study).items())
    finished = [t for index, t in by_index if index < count and t.state in _FINISHED]
    for trial in finished:
        if trial.user_attrs.get("digest") != _digest(trial, trial.value):
            raise StorageInternalError(f"trial {trial.number} is damaged")
    return [Trial(t.user_attrs["index"], t.params, t.value) for t in finished]


def _digest(trial: optuna.Trial | FrozenTrial, accuracy: float | None) -> str:
    """Return a checksum of a trial and its result, because databases have none."""
    content = (trial.user_attrs.get("index"), sorted(trial.params.items()), accuracy)
    return hashlib.sha256(repr(content).encode()).hexdigest()


def _enqueue_generation(
    study: optuna.Study, storage: RDBStorage, space: Space, finished: list[Trial], trials: int
) -> None:
    """Queue the trials of the current generation that the storage does not have."""
    first = len(finished) // GENERATION * GENERATION
    indices = range(first, min(first + GENERATION, trials))
    for index in sorted(set(indices) - set(_trials_by_index(study))):
        values = space.draw(index, finished[:first])
        waiting = space.trial(values, state=TrialState.WAITING, user_attrs={"index": index})
        waiting.set_user_attr("drawn", _digest(waiting, None))
        study.add_trial(waiting)
    # Without a first heartbeat, Optuna would consider a process that is killed right after taking a
    # trial to be alive forever.
    for trial in study.get_trials(deepcopy=False, states=[TrialState.WAITING]):
        storage.record_heartbeat(trial._trial_id)


def _run_waiting_trial(
    study: optuna.Study, storage: RDBStorage, task: SearchTask, epochs: int, track: Track
) -> int | None:
    """Run a queued trial and return its index; None if there was none."""
    if not study.get_trials(deepcopy=False, states=[TrialState.WAITING]):
        return None
    trial = study.ask()
    accuracy, state = None, TrialState.FAIL
    try:
        if trial.number not in {valid.number for valid in _trials_by_index(study).values()}:
            return None  # another process queued the same index earlier
        index = trial.user_attrs["index"]
        if trial.user_attrs.get("drawn") != _digest(trial, None):
            raise StorageInternalError(f"trial {trial.number} is damaged")
        with get_heartbeat_thread(trial._trial_id, storage):
            config = task.config.with_values(trial.params)
            run = task.training(config, epochs)
            _, history = workflow.train(track, f"trial-{index}", run, quiet=True)
        accuracy, state = best_epoch(history)["val_accuracy"], TrialState.COMPLETE
    except DivergedError:
        state = TrialState.PRUNED
    finally:  # after Ctrl-C too, so that the index is free again
        # Another process finishes a trial that it considers dead, as after a machine slept.
        with suppress(UpdateFinishedTrialError):
            trial.set_user_attr("digest", _digest(trial, accuracy))
            study.tell(trial, accuracy, state, skip_if_finished=True)
    return index


def _by_index(trial: FrozenTrial) -> tuple[int, int]:
    return trial.user_attrs["index"], trial.number


def _print_line(text: str) -> None:
    tqdm.write(text)
    sys.stdout.flush()


def _format_trial(trials: list[Trial], trial: Trial, count: int) -> str:
    values = ", ".join(f"{name} {value}" for name, value in trial.values.items())
    text = f"trial {trial.index} of {count}: {values}: "
    text += "diverged" if trial.accuracy is None else f"{trial.accuracy:.1%}"
    measured = [t for t in trials if t.accuracy is not None]
    if measured:
        best = max(measured, key=lambda t: t.accuracy)  # the first of equal ones
        text += f"; best {best.accuracy:.1%} of trial {best.index}"
    return text


def _is_sqlite(url: str) -> bool:
    return url.startswith("sqlite")


def _locked(url: str) -> FerError:
    """Return the error of a file that another process has locked, and name that process."""
    path = make_url(_in_repository(make_url(url))).database or ""
    holders = ", ".join(_processes_with(path)) or "another process"
    return FerError(
        f"settings.storage is {url}, which was locked for {_LOCK_SECONDS:g} s by {holders}; wait "
        "until it ends, or stop it"
    )


def _processes_with(path: str) -> list[str]:
    """Return the other processes that have a file open, on Linux; elsewhere, none."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended, or is another user's
            files = {os.readlink(link) for link in (process / "fd").iterdir()}
            if os.path.realpath(path) in files and process.name != str(os.getpid()):
                command = (process / "cmdline").read_bytes().replace(b"\0", b" ")
                short = textwrap.shorten(command.decode(errors="replace"), 80)
                found.append(f"process {process.name} ({short})")
    return found


@contextmanager
def _storage_errors(url: str, *errors: type[Exception]) -> Iterator[None]:
    """Turn errors of the storage into a FerError of one line that hides its password."""
    shown = re.sub(r"://([^:/]*):.*@", r"://\1:***@", url)
    shown = re.sub(r"(password=)[^&]*", r"\1***", shown)
    # SQLAlchemy takes what follows the first @ for the host, which its errors show.
    if shown.count("***") and url.count("@") > 1:
        raise FerError(f"settings.storage is {shown}: write an @ in its password as %40")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)  # about heartbeats
            warnings.filterwarnings("ignore", message="Heartbeat of storage is supposed")
            yield
    except (SQLAlchemyError, StorageInternalError, *errors) as error:
        cause = error.__cause__ or error
        reason = " ".join(str(getattr(cause, "orig", cause)).split())
        if _is_sqlite(url) and "is locked" in reason:
            raise _locked(url) from error
        if _is_sqlite(url):
            reason += "; if the file is damaged, move it away, and the search starts anew"
        raise FerError(f"settings.storage is {shown}, which cannot be used: {reason}") from error
