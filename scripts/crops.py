"""How right the recognizer is on crops that are not FER2013's own: found by the detector, or small.

    python -m scripts.crops

prints two tables of docs/detection.md, of FER2013's PublicTest in data/fer2013/val.
"""

from pathlib import Path

import numpy as np
from PIL import Image

from fer import Recognizer, faces
from fer.errors import exit_on_error
from fer.faces import FACE_SIZE
from fer.predict.detection import Box, Detector, cut

SHOWN = 144
"""Pixels of a face in the picture in which it is looked for, which is three times as wide."""

SIZES = (48, 40, 36, 32, 28, 24, 20, 16, 12, 8)


def main() -> None:
    val = faces.load(Path("data", "fer2013", "val"))
    recognizer = Recognizer("float32")

    def right(images: np.ndarray, labels: np.ndarray) -> str:
        return f"{(recognizer.classify(images).argmax(1) == labels).mean():.1%}"

    crops = [found(image, recognizer.detector) for image in val.images]
    seen = [n for n, crop in enumerate(crops) if crop is not None]
    ours = np.stack([crops[n] for n in seen])
    labels = val.labels[seen]
    print("| faces | found | right by FER2013's own crop | by the detector's |\n|" + " --- |" * 4)
    print(f"| {len(val)} | {len(seen) / len(val):.1%}", end=" | ")
    print(f"{right(val.images[seen], labels)} | {right(ours, labels)} |\n")

    print(f"| pixels | {' | '.join(map(str, SIZES))} |\n|{' --- |' * (len(SIZES) + 1)}")
    values = [right(shrunk(val.images, size), val.labels) for size in SIZES]
    print(f"| right | {' | '.join(values)} |")


def found(face: np.ndarray, detector: Detector) -> np.ndarray | None:
    """The crop uint8 [48, 48] of a face in a picture that it fills to a third, or None.

    Around it, its edges repeat. Of several boxes, the one nearest to the middle counts.
    """
    picture = np.pad(resized(face, (SHOWN, SHOWN)), SHOWN, mode="edge")
    boxes = detector(picture)
    if not boxes:
        return None
    return cut(picture, min(boxes, key=off_middle))


def off_middle(box: Box) -> int:
    """Pixels, doubled, from a box's middle to that of the picture, along both sides."""
    left, top, right, bottom = box
    return abs(left + right - 3 * SHOWN) + abs(top + bottom - 3 * SHOWN)


def shrunk(images: np.ndarray, size: int) -> np.ndarray:
    """Faces uint8 [N, 48, 48] that once had `size` pixels."""
    steps = [(size, size), (FACE_SIZE, FACE_SIZE)]
    return np.stack([resized(image, *steps) for image in images])


def resized(face: np.ndarray, *steps: tuple[int, int]) -> np.ndarray:
    image = Image.fromarray(face)
    for size in steps:
        image = image.resize(size, Image.Resampling.BICUBIC)
    return np.asarray(image)


if __name__ == "__main__":
    exit_on_error(main)
