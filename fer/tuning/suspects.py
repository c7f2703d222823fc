"""Find training faces whose label looks wrong, from predictions of networks that did not see them.

Confident learning: Northcutt, Jiang and Chuang 2021, arXiv:1911.00068.
"""

from collections.abc import Sequence

import numpy as np

COLUMNS = ("picture", "class", "suggested", "score")


def find_suspects(
    probabilities: np.ndarray, labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the faces whose label looks wrong, the most suspicious first.

    A face is one if it is predicted as another class, and as surely as the faces of that class are
    on average. Then this class is suggested.

    Args:
        probabilities: Held-out predictions, float [N, C].
        labels: Indices of the classes, int [N].

    Returns:
        The indices of the M faces, int64 [M]; the suggested classes, int64 [M]; and the scores,
        float [M], 0 to 1: the probability of the suggested class minus that of the label.
    """
    count = probabilities.shape[1]
    own = np.take_along_axis(probabilities, labels[:, None].astype(int), 1)[:, 0]
    faces = np.bincount(labels, minlength=count)
    thresholds = np.bincount(labels, own, count) / np.maximum(faces, 1)
    thresholds[faces == 0] = np.inf  # nobody can be as sure as no face
    confident = np.where(probabilities >= thresholds, probabilities, 0)
    suggested = confident.argmax(1)
    margin = confident.max(1) - own
    found = np.flatnonzero((suggested != labels) & (margin > 0))
    order = found[np.argsort(-margin[found], kind="stable")]
    return order, suggested[order], margin[order]


def rows(
    pictures: Sequence[str], labels: np.ndarray, classes: Sequence[str], probabilities: np.ndarray
) -> list[tuple[str, str, str, float]]:
    """Return the rows of suspects.csv: a picture, its class, the suggested class and the score.

    `pictures` are the names of the N faces; one that occurs several times, as after oversampling,
    has one row.
    """
    found = zip(*find_suspects(probabilities, labels), strict=True)
    first = {pictures[i]: (classes[labels[i]], classes[c], round(float(s), 4)) for i, c, s in found}
    return [(picture, *values) for picture, values in first.items()]
