"""Compute the metrics of the test split."""

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.stats import binomtest
from sklearn.metrics import f1_score, precision_recall_fscore_support, recall_score

from fer.core.faces import Faces


def calibration_error(probabilities: np.ndarray, labels: np.ndarray, bins: int) -> float:
    """Return the expected calibration error, 0 to 1 (Guo et al. 2017, arXiv:1706.04599).

    It is the mean distance between confidence and accuracy over bins of equal width.
    `probabilities` are float [N, C], `labels` int [N].
    """
    confidence = probabilities.max(1)
    correct = probabilities.argmax(1) == labels
    bin_indices = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = np.bincount(bin_indices, weights=correct - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(labels))


def scores(
    probabilities: np.ndarray, labels: np.ndarray, unique: np.ndarray, bins: int
) -> dict[str, float]:
    """Return accuracy, balanced accuracy, macro F1 and calibration error, each 0 to 1.

    Balanced accuracy and macro F1 are means over the classes that occur in `labels`.
    "accuracy_unique" is that of the faces that are in no other split, `unique` bool [N].
    """
    predicted = probabilities.argmax(1)
    correct = predicted == labels
    mean = {"labels": np.unique(labels), "average": "macro", "zero_division": 0}
    return {
        "accuracy": float(correct.mean()),
        "accuracy_unique": float(correct[unique].mean()),
        "balanced_accuracy": float(recall_score(labels, predicted, **mean)),
        "macro_f1": float(f1_score(labels, predicted, **mean)),
        "calibration_error": calibration_error(probabilities, labels, bins),
    }


def interval(accuracy: float, count: int) -> tuple[float, float]:
    """Return the 95 % confidence interval of an accuracy on a number of faces, each 0 to 1.

    It is that of Wilson 1927 (doi:10.1080/01621459.1927.10502953), which holds for few faces too.
    """
    low, high = binomtest(round(accuracy * count), count).proportion_ci(method="wilson")
    return float(low), float(high)


def coverage(probabilities: np.ndarray, labels: np.ndarray) -> list[dict[str, float]]:
    """Return the accuracy on the faces that are answered, by their share, if the surest come first.

    A row per hundredth of the N faces: "share" and "accuracy", and "confidence", the highest
    probability from which so many are answered, each 0 to 1 (Geifman and El-Yaniv 2017,
    arXiv:1705.08500). `probabilities` are float [N, C], `labels` int [N].
    """
    confidence = probabilities.max(1)
    order = np.argsort(-confidence, kind="stable")
    correct = np.cumsum((probabilities.argmax(1) == labels)[order])
    counts = np.unique(np.ceil(np.arange(1, 101) / 100 * len(labels)).astype(int))
    return [
        {
            "share": float(count / len(labels)),
            "accuracy": float(correct[count - 1] / count),
            "confidence": float(confidence[order[count - 1]]),
        }
        for count in counts
    ]


def answered(rows: Sequence[Mapping[str, float]], accuracy: float) -> Mapping[str, float] | None:
    """Return the row of `coverage` with the most answers of at least an accuracy; None without."""
    return next((row for row in reversed(rows) if row["accuracy"] >= accuracy), None)


def per_class(
    predicted: np.ndarray, labels: np.ndarray, classes: Sequence[str]
) -> list[dict[str, str | float | int]]:
    """Return precision, recall and F1 (0 to 1) and support (faces) per class.

    A class without faces, or one that is never predicted, has 0. `predicted` and `labels` are
    int [N], indices into `classes`.
    """
    table = precision_recall_fscore_support(
        labels, predicted, labels=range(len(classes)), zero_division=0
    )
    columns = ("class", "precision", "recall", "f1", "support")
    rows = zip(classes, *(column.tolist() for column in table), strict=True)
    return [dict(zip(columns, row, strict=True)) for row in rows]


def confusions(
    predicted: np.ndarray, labels: np.ndarray, classes: Sequence[str]
) -> list[dict[str, str]]:
    """Return the actual and the predicted class of each face, one row per face."""
    return [
        {"actual": classes[label], "predicted": classes[prediction]}
        for label, prediction in zip(labels, predicted, strict=True)
    ]


def examples(faces: Faces, correct: np.ndarray, seed: int, count: int = 2) -> np.ndarray:
    """Choose up to `count` correctly and wrongly classified faces of each class.

    Returns the indices int [M] of the chosen faces, class by class, correct ones first.
    """
    generator = np.random.default_rng(seed)
    chosen = [
        generator.permutation(np.flatnonzero((faces.labels == label) & mask))[:count]
        for label in range(len(faces.classes))
        for mask in (correct, ~correct)
    ]
    return np.concatenate(chosen)


def mcnemar(first: np.ndarray, second: np.ndarray) -> dict[str, float | int]:
    """Test whether two models differ on the same faces by more than chance.

    `first` and `second` are bool [N]: whether each model is correct. Returns the numbers of faces
    on which only one model is correct, and the "p_value" of McNemar's exact test (McNemar 1947,
    doi:10.1007/BF02295996).
    """
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    discordant = only_first + only_second
    p_value = binomtest(only_first, discordant).pvalue if discordant else 1.0
    return {"only_first": only_first, "only_second": only_second, "p_value": float(p_value)}
