"""The figures of the report, for few and for many classes."""

import numpy as np
import pytest
from PIL import Image

from fer.core.faces import Faces
from fer.report import figures


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
