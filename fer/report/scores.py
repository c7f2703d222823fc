"""How right predictions are: the metrics of the test split."""

from collections.abc import Sequence

import numpy as np
from scipy.stats import binomtest
from sklearn.metrics import f1_score, precision_recall_fscore_support, recall_score

from fer.faces import Faces


def calibration_error(probabilities: np.ndarray, labels: np.ndarray, bins: int) -> float:
    """Expected calibration error, 0 to 1 (Guo et al. 2017, arXiv:1706.04599).

    The mean distance between confidence and accuracy over `bins` bins of equal width.
    probabilities: [N, classes], labels: [N]
    """
    confidence = probabilities.max(1)
    right = probabilities.argmax(1) == labels
    which = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = np.bincount(which, weights=right - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(labels))


def scores(found: np.ndarray, labels: np.ndarray, new: np.ndarray, bins: int) -> dict[str, float]:
    """Accuracy, balanced accuracy, macro F1 and calibration error, each 0 to 1.

    The balanced accuracy and macro F1 are means over the classes that `labels` have.
    found: probabilities [N, C]
    labels: [N]
    new: bool [N], the faces that stand in no other split; their accuracy is `accuracy_new`
    bins: of the calibration error
    """
    predicted = found.argmax(1)
    right = predicted == labels
    mean = {"labels": np.unique(labels), "average": "macro", "zero_division": 0}
    return {
        "accuracy": float(right.mean()),
        "accuracy_new": float(right[new].mean()),
        "balanced_accuracy": float(recall_score(labels, predicted, **mean)),
        "macro_f1": float(f1_score(labels, predicted, **mean)),
        "calibration_error": calibration_error(found, labels, bins),
    }


def per_class(
    predicted: np.ndarray, labels: np.ndarray, classes: Sequence[str]
) -> list[dict[str, str | float | int]]:
    """Precision, recall and F1 (0 to 1) and support (faces) of each class, a row each.

    A class without faces, or that is never predicted, has 0.

    Args:
        predicted: [N], indices into `classes`.
        labels: [N], indices into `classes`.
        classes: Names of the classes.
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
    """The actual and the predicted class of each face, a row each; arguments as `per_class`."""
    return [
        {"actual": classes[actual], "predicted": classes[guess]}
        for actual, guess in zip(labels, predicted, strict=True)
    ]


def examples(faces: Faces, right: np.ndarray, seed: int, count: int = 2) -> np.ndarray:
    """Indices of up to `count` right and as many wrong faces of each class, class by class.

    Args:
        faces: The N faces to choose from.
        right: bool [N], whether the model was right.
        seed: Of the choice.
        count: Faces of each class that are right, and that are wrong.
    """
    generator = np.random.default_rng(seed)
    chosen = [
        generator.permutation(np.flatnonzero((faces.labels == label) & fits))[:count]
        for label in range(len(faces.classes))
        for fits in (right, ~right)
    ]
    return np.concatenate(chosen)


def mcnemar(first: np.ndarray, second: np.ndarray) -> dict[str, float | int]:
    """Whether two models that judge the same faces differ by more than chance.

    first, second: bool [N], whether the model was right

    Returns the faces that only the one or the other got right, and the p-value of McNemar's exact
    test (McNemar 1947, doi:10.1007/BF02295996).
    """
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    differ = only_first + only_second
    p_value = binomtest(only_first, differ).pvalue if differ else 1.0
    return {"only_first": only_first, "only_second": only_second, "p_value": float(p_value)}
