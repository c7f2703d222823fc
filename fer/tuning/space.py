"""The search space: draw the parameters of a trial, and analyse finished trials."""

import math
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import HyperbandPruner
from optuna.samplers import BaseSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from fer.params import Dimension, TrainingConfig, Tune, Value

optuna.logging.set_verbosity(optuna.logging.ERROR)  # no line per study and trial

GENERATION = 4
"""Number of trials that are drawn together, from the results of earlier generations only."""

MIN_EPOCHS = 3
"""Epochs after which trials are compared at the earliest."""

REDUCTION = 3
"""Hyperband keeps one of so many trials when it compares them."""


@dataclass(frozen=True)
class Trial:
    """A finished trial: a short training run.

    Attributes:
        index: Its number in the search; trial 0 is the baseline.
        values: Values of the searched parameters, by path such as "train.lr".
        accuracy: Accuracy on val without duplicates of the best epoch, 0 to 1; None if the trial
            diverged or was pruned.
        curve: That accuracy after each epoch; none if the trial diverged.
    """

    index: int
    values: dict[str, Value]
    accuracy: float | None
    curve: tuple[float, ...] = ()

    @property
    def is_pruned(self) -> bool:
        """Whether the trial was ended early, because others were better."""
        return self.accuracy is None and bool(self.curve)


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

    def pruner(self, index: int, earlier: Sequence[Trial], epochs: int) -> Callable[[float], bool]:
        """Return a function that is called with the accuracy after each epoch of a trial.

        It is true where the trial should end early. The method is Hyperband with asynchronous
        successive halving (Li et al. 2018, JMLR 18:185; Li et al. 2020, arXiv:1810.05934). Trials
        are compared after a ninth of the epochs, but at least 3, and each time these are tripled.
        Some trials skip the first comparisons. Comparing with earlier generations only makes a
        search with several processes reproducible.

        Args:
            index: Number of the trial in the search.
            earlier: The trials of earlier generations, in the order of their indices.
            epochs: Epochs of a trial that is not ended.
        """
        smallest = min(epochs, max(MIN_EPOCHS, epochs // REDUCTION**2))
        hyperband = HyperbandPruner(smallest, max_resource=epochs, reduction_factor=REDUCTION)
        study = optuna.create_study(
            study_name=str(self.seed), direction="maximize", pruner=hyperband
        )
        for trial in earlier:
            is_hopeless = _follow(study)
            for accuracy in trial.curve:
                is_hopeless(accuracy)
        while len(study.get_trials(deepcopy=False)) < index:
            study.ask()  # its own generation; the bracket of a trial follows from its number
        return _follow(study)

    def trial(self, values: dict[str, Value], **attributes: object) -> FrozenTrial:
        """Return a trial of Optuna.

        Args:
            values: Values of the searched parameters.
            **attributes: Other arguments of `optuna.trial.create_trial`.
        """
        return create_trial(params=values, distributions=self.distributions, **attributes)

    def table(self, trials: Sequence[Trial]) -> list[dict[str, Value]]:
        """Return a row per trial that was neither pruned nor diverged.

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
            curve = dict(enumerate(trial.curve, start=1))
            study.add_trial(
                self.trial(
                    trial.values, state=state, value=trial.accuracy, intermediate_values=curve
                )
            )
        return study


def _follow(study: optuna.Study) -> Callable[[float], bool]:
    """Start a trial, and return a function of its next accuracy: whether the pruner ends it."""
    trial, steps = study.ask(), count(1)

    def is_hopeless(accuracy: float) -> bool:
        trial.report(accuracy, next(steps))
        return trial.should_prune()

    return is_hopeless


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
