"""The finals of the search: whether one of its best trials is a better recipe, or was lucky."""

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from fer.params import Recipe
from fer.training.evaluation import logits
from fer.training.fit import DivergedError
from fer.training.runs import Track
from fer.tuning.search import Task
from fer.tuning.space import Trial

ERRORS = 2.0
"""Standard errors of a difference by which it must be above 0."""


@dataclass(frozen=True)
class Final:
    """A trial's configuration, trained longer from several seeds.

    right: bool [seeds, N], which faces of val each of its networks is right about
    """

    trial: Trial
    right: np.ndarray


def finalists(task: Task, trials: Sequence[Trial], count: int) -> list[Trial]:
    """The best trials by accuracy, each another than the recipe."""
    tried, found = [task.space.start], []
    for trial in sorted(trials, key=lambda t: (-(t.accuracy or 0.0), t.place)):
        if trial.accuracy is not None and trial.values not in tried:
            tried.append(trial.values)
            found.append(trial)
    return found[:count]


def seeded(task: Task, trial: Trial, seeds: int) -> list[Recipe]:
    """The trial's recipe with the recipe's own seed, and with those after it."""
    recipe = task.recipe.changed(trial.values)
    first = recipe.train.seed
    return [recipe.changed({"train.seed": (first + n) % 2**32}) for n in range(seeds)]


def train(task: Task, trial: Trial, seeds: int, epochs: int, track: Track) -> Final | None:
    """Train the trial's recipe with each seed; None where it diverges."""
    images = torch.tensor(task.val.images, device=task.device)
    found = []
    for recipe in seeded(task, trial, seeds):
        name = f"final-{trial.place}-{recipe.train.seed}"
        print(f"final of trial {trial.place}, seed {recipe.train.seed}", flush=True)
        try:
            network, _ = task.run(name, recipe, epochs, track, quiet=False)
        except DivergedError as error:
            print(f"warning: {error}; trial {trial.place} is out", file=sys.stderr)
            return None
        found.append(logits(network, images).argmax(1).numpy())
    return Final(trial, np.array(found) == task.val.labels)


def lead(candidate: np.ndarray, recipe: np.ndarray) -> tuple[float, float]:
    """By how much `candidate` is right more often than `recipe`, and the standard error of that.

    Both bool [seeds, N], of the same faces. The error is that of the faces, paired, and that of the
    seeds (Bouthillier et al. 2021, arXiv:2103.03098), whose squares are added up: rather too large,
    as chance among the faces shows between seeds too.
    """
    differences = candidate.mean(0) - recipe.mean(0)
    variance = differences.var() / len(differences)
    for right in (candidate, recipe):
        variance += right.mean(1).var(ddof=1) / len(right)
    return float(differences.mean()), math.sqrt(variance)


def winner(recipe: Final, others: Sequence[Final]) -> Final:
    """The one that leads the recipe by most, if by more than the noise; otherwise the recipe."""
    best, highest = recipe, 0.0
    for final in others:
        ahead, error = lead(final.right, recipe.right)
        if ahead > max(ERRORS * error, highest):
            best, highest = final, ahead
    return best


def summary(final: Final, recipe: Final) -> dict[str, object]:
    """What tune.json says of a final: accuracies on new faces of val by seed, lead and noise."""
    accuracies = final.right.mean(1)
    found = {
        "trial": final.trial.place,
        "params": final.trial.values,
        "val_new_accuracy": [round(float(accuracy), 6) for accuracy in accuracies],
        "mean": round(float(accuracies.mean()), 6),
    }
    if final is recipe:
        return found
    ahead, error = lead(final.right, recipe.right)
    return found | {"lead": round(ahead, 6), "noise": round(ERRORS * error, 6)}
