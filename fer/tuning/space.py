"""The search space: draw the parameters of a trial, and analyse finished trials."""

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

from fer.core.params import Dimension, TrainingConfig, Tune, Value

optuna.logging.set_verbosity(optuna.logging.ERROR)  # no line per study and trial

GENERATION = 4
"""Number of trials that are drawn together, from the results of earlier generations only."""


@dataclass(frozen=True)
class Trial:
    """A finished trial: a short training run.

    Attributes:
        index: Its number in the search; trial 0 is the baseline.
        values: Values of the searched parameters, by path such as "train.lr".
        accuracy: Accuracy on val without duplicates, 0 to 1; None if it diverged.
    """

    index: int
    values: dict[str, Value]
    accuracy: float | None


class Space:
    """The parameters that are searched. Each range or list of choices includes the baseline.

    Args:
        config: The baseline configuration.
        tune: Section `tune` of params.yaml.

    Attributes:
        seed: Seed of the draws.
        baseline_values: Values of the baseline.
        dimensions: Ranges and choices.
        distributions: The same for Optuna.
    """

    def __init__(self, config: TrainingConfig, tune: Tune) -> None:
        self.seed = tune.seed
        self.baseline_values = {name: config.get(name) for name in tune.space}
        self.dimensions = {
            name: dimension.including(self.baseline_values[name])
            for name, dimension in tune.space.items()
        }
        self.distributions = {
            name: _distribution(dimension, self.baseline_values[name])
            for name, dimension in self.dimensions.items()
        }

    def draw(self, index: int, earlier: Sequence[Trial]) -> dict[str, Value]:
        """Draw the values of a trial; numbers from a range have three significant digits.

        They depend only on the seed, the index and the earlier trials. The sampler is a
        tree-structured Parzen estimator over all parameters together (Bergstra et al. 2011,
        NeurIPS 24; Falkner, Klein and Hutter 2018, arXiv:1807.01774).

        Args:
            index: Number of the trial in the search; 0 returns the baseline.
            earlier: The trials of earlier generations, in the order of their indices.
        """
        if index == 0:
            return self.baseline_values
        seed = int(np.random.SeedSequence([self.seed, index]).generate_state(1)[0])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            sampler = TPESampler(n_startup_trials=GENERATION, multivariate=True, seed=seed)
            drawn = self._study(earlier, sampler).ask(self.distributions).params
        return {name: _rounded(value, self.dimensions[name]) for name, value in drawn.items()}

    def trial(self, values: dict[str, Value], **attributes: object) -> FrozenTrial:
        """Return a trial of Optuna.

        Args:
            values: Values of the searched parameters.
            **attributes: Other arguments of `optuna.trial.create_trial`.
        """
        return create_trial(params=values, distributions=self.distributions, **attributes)

    def table(self, trials: Sequence[Trial]) -> list[dict[str, Value]]:
        """Return a row per trial that did not diverge.

        Args:
            trials: The trials in the order of their indices.

        Returns:
            "trial", "val_accuracy", "best" (the highest accuracy so far), and the parameters.
        """
        rows: list[dict[str, Value]] = []
        for trial in trials:
            if trial.accuracy is not None:
                accuracy = round(trial.accuracy, 6)
                best = max([accuracy, *(row["best"] for row in rows)])
                scores = {"trial": trial.index, "val_accuracy": accuracy, "best": best}
                rows.append(scores | trial.values)
        return rows

    def positions(self, trials: Sequence[Trial]) -> list[dict[str, Value]]:
        """Return a row per trial and parameter, with the position of its value in the range.

        Args:
            trials: The trials in the order of their indices.

        Returns:
            "trial", "val_accuracy", "parameter", "value" and "position" (0 to 1).
        """
        return [
            {"trial": row["trial"], "val_accuracy": row["val_accuracy"]}
            | {"parameter": name, "value": row[name], "position": _position(dimension, row[name])}
            for row in self.table(trials)
            for name, dimension in self.dimensions.items()
        ]

    def scales(self) -> dict[str, dict[str, float]]:
        """Return per parameter the positions (0 to 1) of its choices or of the ends of its range.

        Such as {"train.lr": {"0.03": 0.0, "0.6": 1.0}}.
        """
        return {
            name: {str(value): _position(d, value) for value in d.choices or (d.low, d.high)}
            for name, d in self.dimensions.items()
        }

    def log_scales(self) -> list[str]:
        """Return the parameters that are searched on a logarithmic scale."""
        return [name for name, dimension in self.dimensions.items() if dimension.log]

    def importance(self, trials: Sequence[Trial]) -> dict[str, float]:
        """Return the share of each parameter in the variance of the accuracy, 0 to 1.

        The method is fANOVA (Hutter, Hoos and Leyton-Brown 2014, PMLR 32:754-762). A share is 0 if
        the trials are too few or too similar.

        Args:
            trials: The finished trials.
        """
        shares = dict.fromkeys(self.baseline_values, 0.0)
        rows = self.table(trials)
        if len(rows) > 1:
            # Optuna imports this lazily, and scikit-learn with it.
            evaluator = optuna.importance.FanovaImportanceEvaluator(seed=self.seed)
            with suppress(RuntimeError):  # raised if all trials have the same accuracy
                study = self._study(trials)
                shares |= optuna.importance.get_param_importances(study, evaluator=evaluator)
        varied = {name for name in shares if len({row[name] for row in rows}) > 1}
        return {name: share if name in varied else 0.0 for name, share in shares.items()}

    def _study(self, trials: Sequence[Trial], sampler: BaseSampler | None = None) -> optuna.Study:
        """Return a study in memory with these trials."""
        study = optuna.create_study(direction="maximize", sampler=sampler)
        for trial in trials:
            state = TrialState.PRUNED if trial.accuracy is None else TrialState.COMPLETE
            study.add_trial(self.trial(trial.values, state=state, value=trial.accuracy))
        return study


def _distribution(dimension: Dimension, baseline: Value) -> BaseDistribution:
    if dimension.choices:
        return CategoricalDistribution(dimension.choices)
    distribution = IntDistribution if isinstance(baseline, int) else FloatDistribution
    return distribution(dimension.low, dimension.high, log=dimension.log)


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
