"""Old public names work for one version, with a warning that gives the new name."""

import importlib

import numpy as np
import pytest

from fer import Recognizer
from fer.faces import Faces, load

RENAMED = [
    ("fer.faces", "MOST_CLASSES", "MAX_CLASSES"),
    ("fer.files", "seal", "append_checksum"),
    ("fer.files", "read_sealed", "read_verified"),
    ("fer.files", "scratch", "temporary_folder"),
    ("fer.predict.detection", "middle", "center_square"),
    ("fer.predict.detection", "cut", "crop_face"),
    ("fer.predict.detection", "overlap", "iou"),
    ("fer.predict.drawing", "mark", "draw_boxes"),
    ("fer.predict.drawing", "explain", "draw_explanations"),
    ("fer.predict.recognizer", "SMALL", "SMALL_FACE"),
    ("fer.predict.table", "Found", "Predictions"),
    ("fer.predict.threads", "in_order", "map_in_order"),
]


@pytest.mark.parametrize(("module", "old", "new"), RENAMED)
def test_old_name_is_the_new_one_and_warns(module, old, new):
    imported = importlib.import_module(module)
    message = f"{module}.{old} is now {module}.{new}; the old name goes with version 0.4"
    with pytest.warns(DeprecationWarning, match=message) as warnings:
        value = getattr(imported, old)
    assert value is getattr(imported, new)
    assert warnings[0].filename == __file__


def test_name_that_never_was_is_an_attribute_error():
    with pytest.raises(AttributeError, match=r"module 'fer\.files' has no attribute 'nothing'"):
        importlib.import_module("fer.files").nothing  # noqa: B018


def test_old_attributes_of_a_recognizer():
    recognizer = Recognizer(threads=1)
    with pytest.warns(DeprecationWarning, match=r"Recognizer\.about is now Recognizer\.metadata"):
        assert recognizer.about is recognizer.metadata
    pixels = np.zeros((60, 60), np.uint8)
    with pytest.warns(DeprecationWarning, match=r"Recognizer\.in_boxes is now"):
        (face,) = recognizer.in_boxes(pixels, [(0, 0, 50, 50)])
    assert face == recognizer.predict_boxes(pixels, [(0, 0, 50, 50)])[0]


def test_old_attribute_of_a_face_set():
    soft_labels = np.full((1, 2), 0.5, np.float32)
    images, labels = np.zeros((1, 48, 48), np.uint8), np.zeros(1, np.uint8)
    faces = Faces(images, labels, ("a", "b"), soft_labels)
    with pytest.warns(DeprecationWarning, match=r"Faces\.shares is now Faces\.soft_labels"):
        assert faces.shares is soft_labels


def test_soft_labels_in_a_file_of_version_0_2_are_read(tmp_path):
    soft_labels = np.full((1, 2), 0.5, np.float32)
    images, labels = np.zeros((1, 48, 48), np.uint8), np.zeros(1, np.uint8)
    arrays = {"images": images, "labels": labels, "classes": np.array(["a", "b"])}
    np.savez(tmp_path / "faces.npz", **arrays, shares=soft_labels)
    np.testing.assert_array_equal(load(tmp_path).soft_labels, soft_labels)
