"""The finals of the search: whether its best trial is really better than the baseline."""

import sys
import warnings
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from optuna.trial import FrozenTrial
from scipy import stats
from sklearn.model_selection import StratifiedGroupKFold

from fer.core import faces
from fer.core.errors import FerError
from fer.core.faces import Faces
from fer.core.params import Value
from fer.training import workflow
from fer.training.evaluation import predict_probabilities
from fer.training.fit import DivergedError
from fer.training.robustness import damaged_in_turn
from fer.training.workflow import Track
from fer.tuning.search import SearchTask

Final = dict[str, Any]
"""A cross-validated configuration: "trial" (0: baseline), "params", "fold_accuracy" and "mean".

A trial also has "gain" and "margin_of_error". All are accuracies (0 to 1) on different faces.
"""


def run(
    task: SearchTask,
    trials: Sequence[FrozenTrial],
    epochs: int,
    track: Track,
    groups: np.ndarray | None = None,
) -> tuple[list[Final], np.ndarray, list[Path]]:
    """Cross-validate the baseline and the best trial on the training split.

    `groups` are as for `split_folds`.

    Returns the entries of tune.json: of the baseline, and of the best trial unless it diverged.
    Then the baseline's held-out probabilities of the training faces, float32 [N, C], and the files
    from which the trainings resume.
    """
    different, folds = split_folds(task.train, task.tune.folds, task.tune.seed, groups)
    train = partial(cross_validate, task, groups=different, folds=folds, epochs=epochs, track=track)
    probabilities, baseline, checkpoints = train(0, task.baseline)
    if baseline is None:
        lr = task.config.train.lr
        raise FerError(f"train.lr is {lr}: the baseline diverges in the finals; try a lower one")
    finals = [_summary(0, task.baseline, baseline, folds)]
    others = [t for t in trials if t.value is not None and t.params != task.baseline]
    if others:
        best = max(others, key=lambda trial: trial.value)
        _, accuracies, files = train(best.number, best.params)
        checkpoints += files
        if accuracies is not None:
            gain, margin = accuracy_gain(accuracies, baseline, folds)
            test = {"gain": round(gain, 6), "margin_of_error": round(margin, 6)}
            finals.append(_summary(best.number, best.params, accuracies, folds) | test)
    return finals, probabilities, checkpoints


def winner(finals: Sequence[Final]) -> Final:
    """Return the best trial if it gains more than the margin of error, otherwise the baseline."""
    baseline, *trials = finals
    return next((t for t in trials if t["gain"] > t["margin_of_error"]), baseline)


def split_folds(
    train: Faces, count: int, seed: int, groups: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Divide faces at random into folds with equal numbers of different faces.

    Faces with the same name in `groups`, str [N], are in one fold, unless the names are empty; then
    the folds are as equal as can be, also in their classes. Returns the index of each of N faces
    among the D different ones, int64 [N], and the fold of each different face, int64 [D].
    """
    different, indices = np.unique(np.array(faces.digests(train)), return_inverse=True)
    if len(different) < count:
        raise FerError(
            f"tune.folds is {count}, but there are only {len(different)} different training faces; "
            "use fewer folds"
        )
    if groups is None or not groups.any():
        folds = np.arange(len(different)) % count
        return indices, np.random.default_rng(seed).permutation(folds)
    if len(set(groups)) < count:
        raise FerError(
            f"tune.folds is {count}, but there are only {len(set(groups))} groups of training "
            "faces (prepare.split.group); use fewer folds"
        )
    splitter = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    folds = np.zeros(len(different), int)  # equal faces are in one group
    with warnings.catch_warnings(action="ignore"):  # of classes with few faces
        for fold, (_, own) in enumerate(splitter.split(groups, train.labels, groups)):
            folds[indices[own]] = fold
    return indices, folds


def cross_validate(
    task: SearchTask,
    trial: int,
    values: dict[str, Value],
    *,
    groups: np.ndarray,
    folds: np.ndarray,
    epochs: int,
    track: Track,
) -> tuple[np.ndarray, np.ndarray | None, list[Path]]:
    """Train a configuration once per fold, without the faces of the fold and with another seed.

    The best epoch is selected on val, which is in no fold. Returns the probabilities of each face
    by the network of its fold, float32 [N, C]. Then the accuracy on each different face, float [D],
    because copies of a face, as after oversampling, are no independent faces. If the task has
    damage, it is the mean of the face and a damaged copy. It is None if a training diverges. Then
    the files from which the trainings resume.
    """
    correct, checkpoints = np.zeros(len(groups)), []
    probabilities = np.zeros((len(groups), len(task.train.classes)), np.float32)
    for fold in range(folds.max() + 1):
        print(f"final of trial {trial}, fold {fold + 1} of {folds.max() + 1}", flush=True)
        held_out = folds[groups] == fold
        seed = {"train.seed": (task.config.train.seed + fold) % 2**32}
        training = replace(task, train=task.train[~held_out]).training(values | seed, epochs)
        checkpoints.append(training.checkpoint)
        try:
            network, _ = workflow.train(track, f"final-{trial}-{fold}", training)
        except DivergedError as error:
            print(f"warning: {error}; trial {trial} is out", file=sys.stderr)
            return probabilities, None, checkpoints
        others = task.train[held_out]
        copies = [others] + ([damaged_in_turn(others, task.damage)] if task.damage else [])
        outputs = [predict_probabilities(network, copy.images) for copy in copies]
        probabilities[held_out] = outputs[0]
        for output in outputs:
            correct[held_out] += (output.argmax(1) == others.labels) / len(copies)
    accuracies = np.bincount(groups, weights=correct) / np.bincount(groups)
    return probabilities, accuracies, checkpoints


def accuracy_gain(
    candidate: np.ndarray, baseline: np.ndarray, folds: np.ndarray
) -> tuple[float, float]:
    """Return how much more accurate a candidate is than the baseline, and the margin of error.

    Accuracies are those of each different face, float [D]; `folds` are int64 [D]. The margin is
    half of the confidence interval of a paired t-test over the folds, which differ in their faces
    and in the seeds of both networks. With few folds, their spread may be small by chance, so the
    margin is at least that of the paired differences between faces. Folds share most of their
    training faces, so the margin is rather too small for faces of another data set (Dietterich
    1998, Neural Computation 10:1895-1923).
    """
    differences = candidate - baseline
    margins = [
        stats.t.ppf(0.975, len(values) - 1) * stats.sem(values)  # for a confidence of 95 %
        for values in (_fold_means(differences, folds), differences)
    ]
    return float(differences.mean()), float(max(margins))


def _fold_means(values: np.ndarray, folds: np.ndarray) -> np.ndarray:
    return np.bincount(folds, values) / np.bincount(folds)


def _summary(
    trial: int, values: dict[str, Value], accuracies: np.ndarray, folds: np.ndarray
) -> Final:
    return {
        "trial": trial,
        "params": values,
        "fold_accuracy": _fold_means(accuracies, folds).round(6).tolist(),
        "mean": round(float(accuracies.mean()), 6),
    }
