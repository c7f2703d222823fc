"""The finals of the search: whether one of its best trials is really better than the baseline."""

import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy import stats

from fer.core import faces
from fer.core.errors import FerError
from fer.core.faces import Faces
from fer.core.params import TrainingConfig
from fer.training import workflow
from fer.training.evaluation import predict_logits
from fer.training.fit import DivergedError
from fer.training.workflow import Track
from fer.tuning.search import SearchTask
from fer.tuning.space import Trial

CONFIDENCE = 0.95
"""Confidence of the interval around a gain. A trial wins only if the whole interval is above 0."""


@dataclass(frozen=True)
class Final:
    """A configuration that was cross-validated on the training split.

    Attributes:
        trial: The trial that it comes from.
        correct: bool [N], whether each training face is classified correctly by the network that
            was trained without it.
    """

    trial: Trial
    correct: np.ndarray


def finalists(task: SearchTask, trials: Sequence[Trial], count: int) -> list[Trial]:
    """Return the trials with the highest accuracy, one per configuration, without the baseline's.

    Args:
        task: What is searched.
        trials: The finished trials; those without an accuracy are left out.
        count: Number of trials to return, at most.
    """
    configurations, best = [task.space.baseline_values], []
    for trial in sorted(trials, key=lambda t: (-(t.accuracy or 0.0), t.index)):
        if trial.accuracy is not None and trial.values not in configurations:
            configurations.append(trial.values)
            best.append(trial)
    return best[:count]


def split_folds(train: Faces, count: int, seed: int) -> np.ndarray:
    """Divide faces at random into folds of equal size. Faces with the same pixels stay together.

    Args:
        train: N faces.
        count: Number of folds.
        seed: Seed of the division.

    Returns:
        The fold of each face, int64 [N].

    Raises:
        FerError: If there are fewer different faces than folds.
    """
    _, groups = np.unique(np.array(faces.digests(train)), return_inverse=True)
    if groups.max() + 1 < count:
        raise FerError(
            f"search.folds is {count}, but there are only {groups.max() + 1} different training "
            "faces; use fewer folds"
        )
    folds = np.arange(groups.max() + 1) % count
    return np.random.default_rng(seed).permutation(folds)[groups]


def runs(
    task: SearchTask, trial: Trial, folds: np.ndarray
) -> Iterator[tuple[np.ndarray, SearchTask, TrainingConfig]]:
    """Yield the runs of a final: each fold is held out once, and each run has another seed.

    Args:
        task: What is searched.
        trial: The trial.
        folds: From `split_folds`.

    Yields:
        The mask of the held-out faces, bool [N]; the task with the other faces; the configuration.
    """
    config = task.config.with_values(trial.values)
    for fold in range(folds.max() + 1):
        seeded = config.with_values({"train.seed": (config.train.seed + fold) % 2**32})
        yield folds == fold, replace(task, train=task.train[folds != fold]), seeded


def train(
    task: SearchTask, trial: Trial, folds: np.ndarray, epochs: int, track: Track
) -> Final | None:
    """Cross-validate the configuration of a trial; return None if it diverges.

    The best epoch is selected on val, which is in no fold.

    Args:
        task: What is searched.
        trial: The trial.
        folds: The fold of each training face, from `split_folds`.
        epochs: Epochs per fold.
        track: Starts the run that is logged.
    """
    correct = np.zeros(len(folds), bool)
    for fold, (held_out, others, config) in enumerate(runs(task, trial, folds)):
        print(f"final of trial {trial.index}, fold {fold} of {folds.max() + 1}", flush=True)
        try:
            run = others.training(config, epochs)
            network, _ = workflow.train(track, f"final-{trial.index}-{fold}", run)
        except DivergedError as error:
            print(f"warning: {error}; trial {trial.index} is out", file=sys.stderr)
            return None
        images = torch.tensor(task.train.images[held_out], device=task.device)
        predicted = predict_logits(network, images).argmax(1).numpy()
        correct[held_out] = predicted == task.train.labels[held_out]
    return Final(trial, correct)


def accuracy_gain(
    candidate: np.ndarray, baseline: np.ndarray, folds: np.ndarray
) -> tuple[float, float]:
    """Return how much more accurate a candidate is than the baseline, and the margin of error.

    The margin is half of the confidence interval of a paired t-test over the folds. Folds differ in
    their faces and in the seeds of both networks, so their spread has both kinds of chance. With
    few folds, the spread itself may be small by chance. The margin is therefore at least that of
    the paired differences between faces. Folds share most of their training faces, so their gains
    are correlated, and the margin is rather too small for faces of another data set (Dietterich
    1998, Neural Computation 10:1895-1923).

    Args:
        candidate: bool [N], whether each held-out face is classified correctly.
        baseline: bool [N], the same of the baseline.
        folds: The fold of each face, int64 [N].

    Returns:
        The gain and its margin of error, both in accuracy (-1 to 1).
    """
    differences = candidate.astype(float) - baseline
    gains = [differences[folds == fold].mean() for fold in range(folds.max() + 1)]
    margins = (
        stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1)
        * math.sqrt(np.var(values, ddof=1) / len(values))
        for values in (gains, differences)
    )
    return float(differences.mean()), float(max(margins))


def select_winner(baseline: Final, candidates: Sequence[Final], folds: np.ndarray) -> Final:
    """Return the candidate with the largest significant gain; without one, the baseline.

    Args:
        baseline: The final of the baseline.
        candidates: The finals of the other trials.
        folds: The fold of each training face.
    """
    winner, largest_gain = baseline, 0.0
    for candidate in candidates:
        gain, margin = accuracy_gain(candidate.correct, baseline.correct, folds)
        if gain > max(margin, largest_gain):
            winner, largest_gain = candidate, gain
    return winner


def summary(final: Final, baseline: Final, folds: np.ndarray) -> dict[str, object]:
    """Return the entry of a final in tune.json.

    Args:
        final: The final.
        baseline: The final of the baseline, maybe the same.
        folds: The fold of each training face.

    Returns:
        "trial", "params", "fold_accuracy" (of the held-out faces), "mean" (of all faces), and for
        other finals than the baseline's "gain" and "margin_of_error". All are accuracies, 0 to 1.
    """
    accuracies = [final.correct[folds == fold].mean() for fold in range(folds.max() + 1)]
    entry = {
        "trial": final.trial.index,
        "params": final.trial.values,
        "fold_accuracy": [round(float(accuracy), 6) for accuracy in accuracies],
        "mean": round(float(final.correct.mean()), 6),
    }
    if final is baseline:
        return entry
    gain, margin = accuracy_gain(final.correct, baseline.correct, folds)
    return entry | {"gain": round(gain, 6), "margin_of_error": round(margin, 6)}
