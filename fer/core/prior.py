"""Correct probabilities for the class shares of the training faces."""

from collections.abc import Mapping

import numpy as np


def with_uniform_prior(probabilities: np.ndarray, shares: Mapping[str, float]) -> np.ndarray:
    """Return probabilities, float32 [N, C], as if all classes were equally frequent.

    This is logit adjustment (Menon et al. 2021, arXiv:2007.07314). `shares` has the share of the
    training faces of each class, in the order of the classes. A class without faces keeps its
    probability.
    """
    values = np.array(list(shares.values()), np.float32)
    weighted = probabilities / np.where(values > 0, values, 1)
    return weighted / weighted.sum(1, keepdims=True)
