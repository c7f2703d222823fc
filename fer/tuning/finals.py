"""The finals of the search: whether one of its best trials is really better than the baseline."""

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from fer.params import TrainingConfig
from fer.training.evaluation import predict_logits
from fer.training.fit import DivergedError
from fer.training.runs import Track
from fer.tuning.search import SearchTask
from fer.tuning.space import Trial

MIN_STANDARD_ERRORS = 2.0
"""A trial wins only if its gain is larger than this number of standard errors."""


@dataclass(frozen=True)
class Final:
    """A configuration that was trained longer, with several seeds.

    Attributes:
        trial: The trial that it comes from.
        correct: bool [seeds, N], whether each network is correct on each val face.
    """

    trial: Trial
    correct: np.ndarray


def finalists(task: SearchTask, trials: Sequence[Trial], count: int) -> list[Trial]:
    """Return the trials with the highest accuracy, one per configuration, without the baseline's.

    Args:
        task: What is searched.
        trials: The finished trials; those that diverged are left out.
        count: Number of trials to return, at most.
    """
    configurations, best = [task.space.baseline_values], []
    for trial in sorted(trials, key=lambda t: (-(t.accuracy or 0.0), t.index)):
        if trial.accuracy is not None and trial.values not in configurations:
            configurations.append(trial.values)
            best.append(trial)
    return best[:count]


def seeded(task: SearchTask, trial: Trial, seeds: int) -> list[TrainingConfig]:
    """Return the configuration of a trial with consecutive seeds, from the baseline's seed on.

    Args:
        task: What is searched.
        trial: The trial.
        seeds: Number of seeds.
    """
    config = task.config.with_values(trial.values)
    first = config.train.seed
    return [config.with_values({"train.seed": (first + n) % 2**32}) for n in range(seeds)]


def train(task: SearchTask, trial: Trial, seeds: int, epochs: int, track: Track) -> Final | None:
    """Train the configuration of a trial with several seeds; return None if it diverges.

    Args:
        task: What is searched.
        trial: The trial.
        seeds: Number of seeds.
        epochs: Epochs per seed.
        track: Starts the run that is logged.
    """
    images = torch.tensor(task.val.images, device=task.device)
    predictions = []
    for config in seeded(task, trial, seeds):
        name = f"final-{trial.index}-{config.train.seed}"
        print(f"final of trial {trial.index}, seed {config.train.seed}", flush=True)
        try:
            network, _ = task.run(name, config, epochs, track, quiet=False)
        except DivergedError as error:
            print(f"warning: {error}; trial {trial.index} is out", file=sys.stderr)
            return None
        predictions.append(predict_logits(network, images).argmax(1).numpy())
    return Final(trial, np.array(predictions) == task.val.labels)


def accuracy_gain(candidate: np.ndarray, baseline: np.ndarray) -> tuple[float, float]:
    """Return how much more accurate a candidate is than the baseline, and the standard error.

    The squared error is the sum of two variances: that of the paired differences between faces, and
    that between seeds (Bouthillier et al. 2021, arXiv:2103.03098). It is rather too large, because
    the choice of faces also shows between seeds.

    Args:
        candidate: bool [seeds, N], whether each network is correct on each face.
        baseline: bool [seeds, N], the same of the baseline.

    Returns:
        The gain and its standard error, both in accuracy (-1 to 1).
    """
    differences = candidate.mean(0) - baseline.mean(0)
    variance = differences.var() / len(differences)
    for correct in (candidate, baseline):
        variance += correct.mean(1).var(ddof=1) / len(correct)
    return float(differences.mean()), math.sqrt(variance)


def select_winner(baseline: Final, candidates: Sequence[Final]) -> Final:
    """Return the candidate with the largest significant gain; without one, the baseline.

    Args:
        baseline: The final of the baseline.
        candidates: The finals of the other trials.
    """
    winner, largest_gain = baseline, 0.0
    for candidate in candidates:
        gain, error = accuracy_gain(candidate.correct, baseline.correct)
        if gain > max(MIN_STANDARD_ERRORS * error, largest_gain):
            winner, largest_gain = candidate, gain
    return winner


def summary(final: Final, baseline: Final) -> dict[str, object]:
    """Return the entry of a final in tune.json.

    Args:
        final: The final.
        baseline: The final of the baseline, maybe the same.

    Returns:
        "trial", "params", "val_unique_accuracy" per seed, "mean", and for other finals than the
        baseline's "gain" and "two_standard_errors". All accuracies are 0 to 1.
    """
    accuracies = final.correct.mean(1)
    entry = {
        "trial": final.trial.index,
        "params": final.trial.values,
        "val_unique_accuracy": [round(float(accuracy), 6) for accuracy in accuracies],
        "mean": round(float(accuracies.mean()), 6),
    }
    if final is baseline:
        return entry
    gain, error = accuracy_gain(final.correct, baseline.correct)
    noise = MIN_STANDARD_ERRORS * error
    return entry | {"gain": round(gain, 6), "two_standard_errors": round(noise, 6)}
