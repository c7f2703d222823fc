import numpy as np
import pytest
from PIL import Image
from test_recognizer import PHOTO

from fer.predict.detection import Detector


@pytest.fixture(scope="module")
def detector():
    return Detector()


def portrait(height):
    image = Image.open(PHOTO).convert("L")
    return image.resize((round(image.width * height / image.height), height))


def middles(boxes):
    return np.array([((box[0] + box[2]) / 2, (box[1] + box[3]) / 2) for box in boxes])


@pytest.mark.parametrize("height", [1000, 800, 600, 400, 300])
def test_alone_at_any_size(detector, height):
    page = Image.new("L", (1280, 1000), 128)
    page.paste(portrait(height), (100, 0))
    found = middles(detector(np.asarray(page)))
    scale = height / 600
    np.testing.assert_allclose(found, [(100 + 275 * scale, 213 * scale)], atol=20 * scale)


def test_smaller_face_beside_a_large_one(detector):
    """The quick look finds the large one only."""
    page = Image.new("L", (1280, 1000), 128)
    page.paste(portrait(1000), (0, 0))
    page.paste(portrait(480), (870, 200))
    pixels = np.asarray(page)
    assert len(detector._boxes(pixels, 320)) == 1
    assert len(detector(pixels)) == 2


def test_many_small_faces(detector):
    page = Image.new("L", (1280, 1000), 128)
    for number in range(12):
        page.paste(portrait(300), (300 * (number % 4), 330 * (number // 4)))
    assert len(detector(np.asarray(page))) == 12


def test_nothing_is_found_twice(detector):
    boxes = detector(np.asarray(portrait(1000)))
    assert len(boxes) == 1
