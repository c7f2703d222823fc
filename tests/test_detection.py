import numpy as np
import pytest
from PIL import Image
from test_recognizer import PHOTO

from fer.data.sample import draw_large
from fer.images.detection import Detector, non_maximum_suppression


@pytest.fixture(scope="module")
def detector():
    return Detector()


def portrait(height):
    """The photo in grey, with this height in pixels."""
    image = Image.open(PHOTO).convert("L")
    return image.resize((round(image.width * height / image.height), height))


def centers(boxes):
    return np.array([((box[0] + box[2]) / 2, (box[1] + box[3]) / 2) for box in boxes])


@pytest.mark.parametrize("height", [1000, 800, 600, 400, 300])
def test_single_face_at_any_size(detector, height):
    page = Image.new("L", (1280, 1000), 128)
    page.paste(portrait(height), (100, 0))
    actual = centers(detector(np.asarray(page)))
    scale = height / 600
    np.testing.assert_allclose(actual, [(100 + 275 * scale, 213 * scale)], atol=20 * scale)


@pytest.mark.parametrize(("height", "columns", "rows"), [(160, 8, 5), (300, 4, 3)])
def test_groups(detector, height, columns, rows):
    """Faces of a twentieth of the long side are found."""
    page = Image.new("L", (1280, 1000), 128)
    for number in range(columns * rows):
        page.paste(
            portrait(height),
            (1200 // columns * (number % columns), 900 // rows * (number // columns)),
        )
    boxes = detector(np.asarray(page))
    assert len(boxes) == columns * rows
    assert max(right - left for left, _, right, _ in boxes) < 0.47 * height


@pytest.mark.parametrize("size", [(4000, 3000), (1080, 10_000), (8660, 5770)])
def test_small_faces_in_large_pictures(detector, size):
    """Faces of 48 pixels and more, in pictures of up to 50 megapixels, across the tiles too."""
    page = Image.new("L", size, 128)
    faces = []
    for number, height in enumerate([160, 170, 200, 300, 600, 900]):  # 0.3 of it is the face
        left, top = (37 + 5 * number) * size[0] // 100, (3 + 15 * number) * size[1] // 100
        left = min(left, size[0] - height)
        page.paste(portrait(height), (left, top))
        faces.append((left + 0.458 * height, top + 0.355 * height))
    boxes = detector(np.asarray(page))
    assert len(boxes) == len(faces)
    distances = np.linalg.norm(centers(boxes)[:, None] - np.array(faces), axis=-1).min(0)
    assert (distances < [8, 8, 8, 12, 20, 30]).all()


def test_larger_min_face_searches_large_pictures_for_large_faces_only():
    page = Image.new("L", (4000, 3000), 128)
    page.paste(portrait(160), (1000, 1000))
    page.paste(portrait(1500), (2000, 500))
    boxes = Detector(min_face=1000)(np.asarray(page))
    np.testing.assert_allclose(centers(boxes), [(2000 + 687, 500 + 532)], atol=50)


@pytest.mark.parametrize(("size", "height"), [((512, 600), 600), ((4000, 3000), 300)])
def test_score_and_its_limit(detector, size, height):
    """Small faces in large pictures too."""
    page = Image.new("L", size, 128)
    page.paste(portrait(height), (0, 0))
    pixels = np.asarray(page)
    ((box, score),) = detector.detect(pixels)
    assert 0.6 <= score <= 1
    assert detector(pixels) == [box]
    assert Detector(min_score=score + 0.01)(pixels) == []
    assert Detector(min_score=score - 0.01)(pixels) == [box]


def test_face_that_fills_the_image(detector):
    actual = detector(np.asarray(portrait(600).crop((185, 125, 365, 305))))
    np.testing.assert_allclose(actual, [(0, 0, 180, 180)], atol=45)


def suppress(*boxes):
    """Suppress square boxes: left, top, side and score."""
    detections = [(x, y, x + side, y + side, 0, 0, score) for x, y, side, score in boxes]
    kept = non_maximum_suppression(np.array(detections, float))
    return [(int(row[0]), int(row[1]), int(row[2] - row[0]), row[6]) for row in kept]


def test_overlapping_boxes_are_one_face():
    best, half, third, other = (0, 0, 9, 0.9), (0, 3, 9, 0.8), (0, 5, 9, 0.7), (50, 0, 9, 0.5)
    assert suppress(other, half, best) == [best, other]  # intersection over union 1/2
    assert suppress(best, third) == [best, third]  # 2/7
    assert non_maximum_suppression(np.zeros((0, 7))).shape == (0, 7)


@pytest.mark.parametrize(
    ("small_side", "small_score", "large_score", "expected"),
    [
        (80, 0.95, 0.90, ["small", "large"]),  # a small face before a large one
        (80, 0.90, 0.95, ["large"]),  # a part of a face
        (220, 0.95, 0.90, ["small"]),  # of comparable size, found in two sizes of the image
        (220, 0.90, 0.95, ["large"]),
    ],
)
def test_box_inside_another(small_side, small_score, large_score, expected):
    boxes = {"large": (0, 0, 400, large_score), "small": (90, 90, small_side, small_score)}
    assert suppress(*boxes.values()) == [boxes[name] for name in expected]


def test_thousands_of_faces_end_soon(detector):
    """Each box is compared with all others, so only the best ones are."""
    face = draw_large("Happy", np.random.default_rng(0)).resize((40, 43))
    assert 3500 < len(detector(np.tile(np.asarray(face), (60, 60)))) <= 3600  # of 42,000 boxes
    many = np.repeat(np.arange(25_000.0)[:, None], 7, 1)
    many[:, 2:4] += 0.5
    kept = non_maximum_suppression(many)
    np.testing.assert_array_equal(kept, many[:4999:-1])
