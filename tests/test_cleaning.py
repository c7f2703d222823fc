import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from layouts import PARAMS

from fer.core.errors import FerError
from fer.core.faces import Faces, is_in
from fer.data import cleaning
from fer.data.cleaning import balance, select_train_rows

labels_of_faces = st.lists(st.integers(0, 6), min_size=1, max_size=80).map(
    lambda labels: np.array(labels, np.uint8)
)


NO_CAP = [None] * 7


def counts(labels):
    return np.bincount(labels, minlength=7)


@given(labels=labels_of_faces, seed=st.integers(0, 2**32 - 1))
def test_classes_become_alike_and_no_face_is_lost_or_repeated_without_need(labels, seed):
    over, under = (balance(labels, name, NO_CAP, seed) for name in ("oversample", "undersample"))
    before = counts(labels)
    present = before > 0
    assert set(counts(labels[over])[present]) == {before.max()}
    assert set(counts(labels[under])[present]) == {before[present].min()}
    assert set(over) == set(range(len(labels)))
    assert len(set(under)) == len(under)
    repeats = np.bincount(over)
    for label in np.unique(labels):
        assert np.ptp(repeats[labels == label]) <= 1


def test_cap_touches_the_classes_it_names():
    labels = np.repeat(np.arange(7, dtype=np.uint8), [40, 4, 40, 70, 40, 30, 40])
    chosen = labels[balance(labels, "cap", [None, 50, None, 50, None, None, None], 0)]
    assert counts(chosen).tolist() == [40, 50, 40, 50, 40, 30, 40]


def test_train_rows(faces):
    prepare = PARAMS.prepare
    images = faces.images
    images[0] = 9  # blank
    images[60] = images[1]  # a test face that stands in training
    splits = {"train": faces[:50], "val": faces[50:60], "test": faces[60:]}

    def count(**changes):
        return len(select_train_rows(splits, prepare.model_copy(update=changes)))

    assert select_train_rows(splits, prepare) is None  # all, as they are
    rows = select_train_rows(splits, prepare.model_copy(update={"drop_leaks": True}))
    assert rows.tolist() == [row for row in range(50) if row != 1]
    assert count(drop_blank=True) == 49
    assert count(drop_blank=True, drop_leaks=True, balance="undersample") == 5 * 8
    assert count(balance="cap", cap={"Happy": 3}) == 43
    with pytest.raises(
        FerError, match=r"prepare\.cap names Joy, which is no class; choose among Angry"
    ):
        count(balance="cap", cap={"Joy": 3})
    splits["val"] = splits["train"]
    with pytest.raises(FerError, match="leave no training face"):
        count(drop_leaks=True)


def test_report(faces):
    images = faces.images.copy()
    images[0] = 9  # blank
    images[50] = images[5]  # val 10 repeats train 5, with another label
    images[66] = images[61] = images[6]  # test 1 and 6 repeat train 6
    images[68] = images[47]  # test 8 repeats val 7, with another label
    splits = {
        name: Faces(images[rows], faces.labels[rows], faces.classes)
        for name, rows in (("train", slice(0, 40)), ("val", slice(40, 60)), ("test", slice(60, 70)))
    }
    assert cleaning.count_problems(splits) == {
        "blank_faces": 1,
        "identical_groups": 3,
        "identical_groups_of_different_labels": 3,
        "val_faces_in_train": 1,
        "test_faces_in_train": 2,
        "test_faces_in_val": 1,
    }
    leaked = is_in(splits["train"], splits["val"], splits["test"])
    assert np.flatnonzero(leaked).tolist() == [5, 6]
    assert np.flatnonzero(cleaning.is_blank(splits["train"])).tolist() == [0]
    rows = cleaning.class_counts({"train": faces}, {"train": faces[:30]})
    assert [row["before"] for row in rows] == [10] * 7
    assert sum(row["after"] for row in rows) == 30
