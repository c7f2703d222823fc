"""The search space: what a trial draws from it, and what the trials show of its parameters."""

import math
import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from fer.params import Dimension, Recipe, Tune, Value

optuna.logging.set_verbosity(optuna.logging.ERROR)  # no word on each study and trial

GENERATION = 4
"""Trials that are drawn, and may run, at a time: they know those of the generations before."""


@dataclass(frozen=True)
class Trial:
    """A short run that came to its end.

    place: in the search, from 0, which is the recipe
    values: of the parameters that are searched
    accuracy: on val, 0 to 1; None where it diverged
    """

    place: int
    values: dict[str, Value]
    accuracy: float | None


class Space:
    """The parameters that are searched; ranges and choices have the recipe's own value in them.

    start: the recipe's own values
    """

    def __init__(self, recipe: Recipe, tune: Tune) -> None:
        self.seed = tune.seed
        self.start = {name: recipe.get(name) for name in tune.space}
        self.dimensions = {name: d.including(self.start[name]) for name, d in tune.space.items()}
        self.distributions = {
            name: _distribution(d, self.start[name]) for name, d in self.dimensions.items()
        }

    def draw(self, place: int, known: Sequence[Trial]) -> dict[str, Value]:
        """The values of the trial at `place`; numbers from a range have three digits.

        They depend on the seed, the place and the trials `known`, in their order, and on nothing
        else. By a tree-structured Parzen estimator over all parameters at once (Bergstra et al.
        2011, NeurIPS 24; Falkner, Klein and Hutter 2018, arXiv:1807.01774).
        """
        if place == 0:
            return self.start
        seed = int(np.random.SeedSequence([self.seed, place]).generate_state(1)[0])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            sampler = TPESampler(n_startup_trials=GENERATION, multivariate=True, seed=seed)
            drawn = self._study(known, sampler).ask(self.distributions).params
        return {name: _rounded(value, self.dimensions[name]) for name, value in drawn.items()}

    def trial(self, values: dict[str, Value], **about: object) -> FrozenTrial:
        """A trial of Optuna with these values."""
        return create_trial(params=values, distributions=self.distributions, **about)

    def table(self, trials: Sequence[Trial]) -> list[dict[str, Value]]:
        """The trials in order without those that diverged, a row each: accuracies, parameters.

        `best` is the highest accuracy so far.
        """
        rows: list[dict[str, Value]] = []
        for trial in trials:
            if trial.accuracy is not None:
                accuracy = round(trial.accuracy, 6)
                best = max([accuracy, *(row["best"] for row in rows)])
                found = {"trial": trial.place, "val_accuracy": accuracy, "best": best}
                rows.append(found | trial.values)
        return rows

    def positions(self, trials: Sequence[Trial]) -> list[dict[str, Value]]:
        """The rows of `table`, one for each parameter, with its position, 0 to 1, in its range."""
        return [
            {"trial": row["trial"], "val_accuracy": row["val_accuracy"]}
            | {"parameter": name, "value": row[name], "position": _position(d, row[name])}
            for row in self.table(trials)
            for name, d in self.dimensions.items()
        ]

    def scales(self) -> dict[str, dict[str, float]]:
        """Of each parameter, the positions (0 to 1) of its choices, or of the ends of its range.

        Such as {"train.lr": {"0.03": 0.0, "0.6": 1.0}}.
        """
        return {
            name: {str(value): _position(d, value) for value in d.choices or (d.low, d.high)}
            for name, d in self.dimensions.items()
        }

    def importance(self, trials: Sequence[Trial]) -> dict[str, float]:
        """Share of each parameter in the variance of the accuracy, 0 to 1.

        By fANOVA (Hutter, Hoos and Leyton-Brown 2014, PMLR 32:754-762). 0 where the trials
        are too few or too alike to tell.
        """
        shares = dict.fromkeys(self.start, 0.0)
        rows = self.table(trials)
        if len(rows) > 1:
            # By its name, Optuna imports this, and scikit-learn with it, only here.
            by = optuna.importance.FanovaImportanceEvaluator(seed=self.seed)
            with suppress(RuntimeError):  # where all trials came to the same accuracy
                study = self._study(trials)
                shares |= optuna.importance.get_param_importances(study, evaluator=by)
        varied = {name for name in shares if len({row[name] for row in rows}) > 1}
        return {name: share if name in varied else 0.0 for name, share in shares.items()}

    def _study(self, trials: Sequence[Trial], sampler: BaseSampler | None = None) -> optuna.Study:
        """A study in memory, of these trials."""
        study = optuna.create_study(direction="maximize", sampler=sampler)
        for trial in trials:
            state = TrialState.PRUNED if trial.accuracy is None else TrialState.COMPLETE
            study.add_trial(self.trial(trial.values, state=state, value=trial.accuracy))
        return study


def _distribution(dimension: Dimension, own: Value) -> BaseDistribution:
    if dimension.choices:
        return CategoricalDistribution(dimension.choices)
    kind = IntDistribution if isinstance(own, int) else FloatDistribution
    return kind(dimension.low, dimension.high, log=dimension.log)


def _rounded(value: Value, dimension: Dimension) -> Value:
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
