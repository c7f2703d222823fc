from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer import params
from fer.balance import balance, clean_train
from fer.errors import FerError

labels_of_faces = st.lists(st.integers(0, 6), min_size=1, max_size=80).map(
    lambda labels: np.array(labels, np.uint8)
)


def counts(labels):
    return np.bincount(labels, minlength=7)


@given(labels=labels_of_faces, seed=st.integers(0, 2**32 - 1))
def test_classes_become_alike(labels, seed):
    before = counts(labels)
    over = counts(labels[balance(labels, "oversample", {}, seed)])
    assert set(over[before > 0]) == {before.max()}
    under = counts(labels[balance(labels, "undersample", {}, seed)])
    assert set(under[before > 0]) == {before[before > 0].min()}


@given(labels=labels_of_faces, seed=st.integers(0, 2**32 - 1))
def test_growing_keeps_every_face_and_shrinking_repeats_none(labels, seed):
    over = balance(labels, "oversample", {}, seed)
    assert set(over) == set(range(len(labels)))
    repeats = np.bincount(over)
    for label in np.unique(labels):
        assert np.ptp(repeats[labels == label]) <= 1
    under = balance(labels, "undersample", {}, seed)
    assert len(set(under)) == len(under)


def test_cap_touches_the_classes_it_names():
    labels = np.repeat(np.arange(7, dtype=np.uint8), [40, 4, 40, 70, 40, 30, 40])
    chosen = labels[balance(labels, "cap", {"Disgust": 50, "Happy": 50}, 0)]
    assert counts(chosen).tolist() == [40, 50, 40, 50, 40, 30, 40]


def test_clean_train(faces):
    prepare = params.load(Path(__file__).parents[1] / "params.yaml").prepare
    images = faces.images
    images[0] = 9  # blank
    images[60] = images[1]  # a test face that stands in training
    splits = {"train": faces[:50], "val": faces[50:60], "test": faces[60:]}

    def count(**changes):
        return len(clean_train(splits, prepare.model_copy(update=changes)))

    assert count() == 50
    assert count(drop_blank=True) == 49
    assert count(drop_leaks=True) == 49
    assert count(drop_blank=True, drop_leaks=True, balance="undersample") == 5 * 8
    splits["val"] = splits["train"]
    with pytest.raises(FerError, match="leave no training face"):
        count(drop_leaks=True)
