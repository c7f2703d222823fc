"""The figures of the report, for few and for many classes."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fer.core.faces import Faces
from fer.report import figures


@pytest.fixture
def drawn(monkeypatch):
    """The figures that were saved."""
    saved, save = [], figures._save
    monkeypatch.setattr(figures, "_save", lambda *a: (saved.append(a[1]), save(*a)))
    return saved


@pytest.mark.parametrize("count", [2, 3, 12])
def test_titles_and_captions_of_faces_are_whole(tmp_path, count):
    names = tuple(f"contemptuousness {number}" for number in range(count))
    images = np.zeros((count, 48, 48), np.uint8)
    faces = Faces(images, np.arange(count, dtype=np.uint8), names)
    title = "mine: class activation maps of float32 on test faces"
    maps = np.zeros((count, count, 6, 6), np.float32)
    figures.explained(tmp_path / "x.png", faces, np.eye(count, dtype=np.float32), maps, title)
    with Image.open(tmp_path / "x.png") as image:
        pixels = np.asarray(image.convert("L"))
    for edge in (pixels[:3], pixels[-3:], pixels[:, :3], pixels[:, -3:]):
        assert (edge == 255).all()


@pytest.mark.parametrize("count", [2, 3, 12])
def test_int8_without_differences_has_an_axis_of_points(tmp_path, drawn, count):
    names = [f"class {number}" for number in range(count)]
    table = pd.DataFrame({"actual": names[:-1], "predicted": names[:-1]})
    figures.int8_difference(tmp_path / "x.png", table, table, names, "mine")
    other = table.assign(predicted=names[-1])
    figures.int8_difference(tmp_path / "y.png", table, other, names, "mine")
    limits = [figure.axes[0].get_xlim() for figure in drawn]
    assert limits == [(-1.25, 1.25), (-125, 125)]
    labels = [[text.get_text() for text in figure.axes[0].texts] for figure in drawn]
    assert labels[0] == ["+0.0"] * (count - 1) + ["no test face"]
    assert labels[1] == ["-100.0"] * (count - 1) + ["no test face"]


def test_class_without_faces_has_a_label(tmp_path, drawn):
    rows = [("train", "a", 9), ("train", "b", 1200), ("val", "a", 3), ("val", "b", 0)]
    table = pd.DataFrame([{"split": s, "class": c, "before": n, "after": n} for s, c, n in rows])
    figures.classes(tmp_path / "x.png", table, "mine")
    labels = [[text.get_text() for text in axes.texts] for axes in drawn[0].axes]
    assert labels == [["9", "1,200"], ["3", "0"]]
