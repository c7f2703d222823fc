import numpy as np

from fer import quality
from fer.faces import Faces


def test_report(faces):
    images = faces.images.copy()
    images[0] = 9  # blank
    images[50] = images[5]  # val 10 repeats train 5, with another label
    images[66] = images[61] = images[6]  # test 1 and 6 repeat train 6
    splits = {
        name: Faces(images[rows], faces.labels[rows])
        for name, rows in (("train", slice(0, 40)), ("val", slice(40, 60)), ("test", slice(60, 70)))
    }
    assert quality.report(splits) == {
        "blank_faces": 1,
        "identical_groups": 2,
        "identical_groups_of_different_labels": 2,
        "val_faces_in_train": 1,
        "test_faces_in_train": 2,
    }
    leaked = quality.is_in(splits["train"], splits["val"], splits["test"])
    assert np.flatnonzero(leaked).tolist() == [5, 6]
    assert np.flatnonzero(quality.is_blank(splits["train"])).tolist() == [0]
