from itertools import combinations

import numpy as np
import pytest
from PIL import Image, ImageDraw
from test_recognizer import CLASSES

from fer.predict import drawing
from fer.predict.recognizer import Face


def face_at(*box):
    probabilities = dict.fromkeys(CLASSES, 0.0) | {"Happy": 1.0}
    pixels, maps = np.zeros((48, 48), np.uint8), np.ones((7, 11, 11), np.float32)
    return Face(box, "Happy", probabilities, pixels, maps)


@pytest.fixture
def labels(monkeypatch):
    """Areas of the labels, which are the filled rectangles."""
    drawn = []
    draw = ImageDraw.ImageDraw.rectangle

    def rectangle(self, xy, **options):
        if options.get("fill"):
            drawn.append(tuple(xy))
        draw(self, xy, **options)

    monkeypatch.setattr(ImageDraw.ImageDraw, "rectangle", rectangle)
    return drawn


def overlap(first, second):
    return all(max(first[i], second[i]) < min(first[i + 2], second[i + 2]) for i in (0, 1))


def test_labels_of_a_crowd_do_not_cover_each_other(labels):
    crowd = [face_at(x, y, x + 45, y + 45) for y in (60, 130, 200) for x in range(10, 500, 40)]
    image = Image.new("RGB", (560, 300))
    drawing.draw_boxes(image, crowd)
    assert len(labels) == len(crowd)
    assert not [pair for pair in combinations(labels, 2) if overlap(*pair)]


@pytest.mark.parametrize("box", [(-50, -50, 20, 20), (80, 80, 200, 200), (-9, -9, 109, 109)])
def test_label_is_inside_the_image(labels, box):
    drawing.draw_boxes(Image.new("L", (100, 100)), [face_at(*box)])
    ((left, top, right, bottom),) = labels
    assert (left >= 0, top >= 0) == (True, True)
    assert (right <= 100, bottom <= 100) == (True, True)
