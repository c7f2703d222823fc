"""Measure accuracy on other crops than FER2013's own: those of the detector, and small ones.

    python -m scripts.crops

prints two tables of docs/detection.md, from FER2013's val faces in data/fer2013/val.
"""

from pathlib import Path

import numpy as np
from PIL import Image

from fer import Recognizer, faces
from fer.errors import exit_on_error
from fer.faces import FACE_SIZE
from fer.predict.detection import Box, Detector, crop_face

FACE_IN_PICTURE = 144
"""Side in pixels of a face in the picture for the detector, which is three times as wide."""

SIZES = (48, 40, 36, 32, 28, 24, 20, 16, 12, 8)


def main() -> None:
    val = faces.load(Path("data", "fer2013", "val"))
    recognizer = Recognizer("float32")

    def accuracy(images: np.ndarray, labels: np.ndarray) -> str:
        return f"{100 * (recognizer.classify(images).argmax(1) == labels).mean():.1f}"

    crops = [detect(image, recognizer.detector) for image in val.images]
    detected = [index for index, crop in enumerate(crops) if crop is not None]
    detector_crops = np.stack([crops[index] for index in detected])
    labels = val.labels[detected]
    print(
        "| faces | found (%) | accuracy with FER2013's crop (%) "
        "| accuracy with the detector's crop (%) |\n|" + " --- |" * 4
    )
    print(f"| {len(val):,} | {100 * len(detected) / len(val):.1f}", end=" | ")
    print(f"{accuracy(val.images[detected], labels)} | {accuracy(detector_crops, labels)} |\n")

    print(f"| pixels | {' | '.join(map(str, SIZES))} |\n|{' --- |' * (len(SIZES) + 1)}")
    values = [accuracy(shrink(val.images, size), val.labels) for size in SIZES]
    print(f"| accuracy (%) | {' | '.join(values)} |")


def detect(face: np.ndarray, detector: Detector) -> np.ndarray | None:
    """Return the detector's crop of a face, uint8 [48, 48], or None.

    The face fills a third of the picture; its edges repeat around it. Of several boxes, the one
    nearest to the center counts.
    """
    picture = np.pad(resize(face, (FACE_IN_PICTURE, FACE_IN_PICTURE)), FACE_IN_PICTURE, mode="edge")
    boxes = detector(picture)
    if not boxes:
        return None
    return crop_face(picture, min(boxes, key=distance_to_center))


def distance_to_center(box: Box) -> int:
    """Return twice the distance from a box's center to the picture's, in pixels along the sides."""
    left, top, right, bottom = box
    return abs(left + right - 3 * FACE_IN_PICTURE) + abs(top + bottom - 3 * FACE_IN_PICTURE)


def shrink(images: np.ndarray, size: int) -> np.ndarray:
    """Reduce faces uint8 [N, 48, 48] to `size` pixels and enlarge them again."""
    steps = [(size, size), (FACE_SIZE, FACE_SIZE)]
    return np.stack([resize(image, *steps) for image in images])


def resize(face: np.ndarray, *steps: tuple[int, int]) -> np.ndarray:
    image = Image.fromarray(face)
    for size in steps:
        image = image.resize(size, Image.Resampling.BICUBIC)
    return np.asarray(image)


if __name__ == "__main__":
    exit_on_error(main)
