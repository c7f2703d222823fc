"""Find the faces in a photo, and cut them out as FER2013's were."""

from collections import deque
from collections.abc import Iterable
from typing import Any

import numpy as np
from PIL import Image

from fer.faces import FACE_SIZE

Box = tuple[int, int, int, int]
"""Left, top, right, bottom, in pixels; right and bottom are the first outside."""

_QUICK, _HALF, _FULL = 320, 640, 1280
"""Pixels of the long side to which an image is brought; the detector finds faces of 75 and more."""

# Where dlib's detector sees the face in FER2013's crops: the median of 925 faces of its training
# split is 0.90 of the crop wide, with its centre 0.10 of the crop below the crop's.
_CROP_TO_BOX = 1 / 0.90
_CROP_ABOVE_BOX = 0.10


class Detector:
    """dlib's frontal face detector (HOG and SVM; King 2009, JMLR 10:1755-1758).

    Its weights are compiled in. It finds faces up to some 30 degrees from upright and frontal.
    Threads may share it.
    """

    def __init__(self) -> None:
        # dlib's own cannot be shared, as it keeps the picture while it runs and other threads run
        # on; to make one takes a second. A deque needs no lock, which a fork might leave closed.
        self._free: deque[Any] = deque()

    def detect(self, pixels: np.ndarray) -> Iterable[Any]:
        """Faces in uint8 [H, W] as dlib sees them: by a detector that no other thread uses."""
        try:
            detector = self._free.pop()
        except IndexError:
            import dlib  # here, as a face that is given needs no detector

            detector = dlib.get_frontal_face_detector()
        try:
            return detector(pixels, 0)
        finally:
            self._free.append(detector)

    def __call__(self, pixels: np.ndarray) -> list[Box]:
        """Square boxes of the faces in uint8 [H, W], from left to right.

        They have the margin of FER2013's crops, and may so reach beyond the image. Faces of a
        seventeenth of the long side are found; beside one of a quarter, those of an eighth, as a
        quick look finds the large ones in a tenth of the time.
        """
        large = self._boxes(pixels, _QUICK)
        found = self._boxes(pixels, _HALF if large else _FULL)
        missed = [one for one in large if not any(_has_middle(one, other) for other in found)]
        return sorted(found + missed)

    def _boxes(self, pixels: np.ndarray, long_side: int) -> list[Box]:
        height, width = pixels.shape
        zoom = min(long_side / max(height, width), 2.0)
        size = (max(1, round(width * zoom)), max(1, round(height * zoom)))
        small = Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR, reducing_gap=2)
        return [_crop(found, zoom) for found in self.detect(np.asarray(small))]


def middle(pixels: np.ndarray) -> Box:
    """The largest square in the middle of uint8 [H, W]."""
    height, width = pixels.shape
    side = min(height, width)
    left, top = (width - side) // 2, (height - side) // 2
    return left, top, left + side, top + side


def cut(pixels: np.ndarray, box: Box) -> np.ndarray:
    """The face uint8 [48, 48] in `box` of uint8 [H, W]; beyond the edge, the edge repeats."""
    height, width = pixels.shape
    left, top, right, bottom = box
    rows = np.arange(top, bottom).clip(0, height - 1)
    columns = np.arange(left, right).clip(0, width - 1)
    face = Image.fromarray(pixels[np.ix_(rows, columns)])
    return np.asarray(face.resize((FACE_SIZE, FACE_SIZE), Image.Resampling.BICUBIC))


def _has_middle(one: Box, other: Box) -> bool:
    """Whether the middle of one box lies in the other."""
    return all(2 * other[i] <= one[i] + one[i + 2] < 2 * other[i + 2] for i in (0, 1))


def _crop(found: Any, zoom: float) -> Box:
    side = _CROP_TO_BOX * found.width() / zoom
    middle = (found.left() + found.right() + 1) / 2 / zoom
    center = (found.top() + found.bottom() + 1) / 2 / zoom - _CROP_ABOVE_BOX * side
    left, top = round(middle - side / 2), round(center - side / 2)
    return left, top, left + round(side), top + round(side)
