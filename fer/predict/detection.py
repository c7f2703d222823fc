"""Find the faces in a photo, and cut them out as FER2013's were."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from PIL import Image

from fer.faces import FACE_SIZE
from fer.files import read_sealed

Box = tuple[int, int, int, int]
"""Left, top, right, bottom, in pixels; right and bottom are the first outside."""

_LONG_SIDE = 448
"""Pixels to which an image is brought, but no more than doubled; faces of 10 to 400 are seen."""

_SURE = 0.6
"""Score, 0 to 1, from which on something is a face."""

_SAME = 0.3
"""Intersection over union from which on two boxes are of one face."""

_STRIDES = (8, 16, 32)
"""Pixels from one place where a face is looked for to the next: for small, middle, large ones."""

# How FER2013's crops lie to what the detector sees: a box's sides are 0.94 of the crop's (their
# mean), and the middle of eyes, nose and mouth is 0.12 of the crop below the crop's (medians of 96
# faces in photos, docs/detection.md). The crops do not tell themselves, as they cut the chin off.
_BOX_TO_CROP = 1 / 0.94
_CROP_ABOVE_MIDDLE = 0.12


class Detector:
    """YuNet (Wu, Peng and Yu 2023, Machine Intelligence Research 20:656-665).

    scripts/yunet.py made the file, and says where its weights are from. It finds faces from the
    front and from the side, up to some 40 degrees from upright. Threads may share it.
    """

    def __init__(self) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1  # several pictures at a time make better use of the cores
        options.log_severity_level = 4  # what goes wrong is told by the exception
        content = read_sealed(Path(__file__).with_name("yunet.onnx"))
        self.session = ort.InferenceSession(content, options, ["CPUExecutionProvider"])

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), ()

    def __call__(self, pixels: np.ndarray) -> list[Box]:
        """Square boxes of the faces in uint8 [H, W], from left to right.

        They have the margin of FER2013's crops, and may so reach beyond the image. Faces of a
        twentieth of the long side are found.
        """
        height, width = pixels.shape
        zoom = min(_LONG_SIDE / max(height, width), 2.0)
        size = (max(1, round(width * zoom)), max(1, round(height * zoom)))
        small = Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR, reducing_gap=2)
        return sorted(_crop(face / zoom) for face in _best(self._look(np.asarray(small))))

    def _look(self, pixels: np.ndarray) -> np.ndarray:
        """What may be faces in uint8 [H, W], the surest first, float [N, 6].

        Left, top, right, bottom, and x and y of the middle of eyes, nose and mouth.
        """
        height, width = pixels.shape
        whole = np.pad(pixels, ((0, -height % _STRIDES[-1]), (0, -width % _STRIDES[-1])))
        outputs = self.session.run(None, {"pixels": whole[None, None]})
        faces, scores = [], []
        for level, stride in enumerate(_STRIDES):
            found = outputs[3 * level : 3 * level + 3]
            y, x = np.nonzero(found[2][0, 0] >= _SURE)
            boxes, middles, seen = (values[0, :, y, x] for values in found)
            place, sides = np.stack([x, y], 1), np.exp(boxes[:, 2:])
            center, middle = place + boxes[:, :2], place + middles
            faces.append(stride * np.hstack([center - sides / 2, center + sides / 2, middle]))
            scores.append(seen[:, 0])
        return np.concatenate(faces)[np.argsort(-np.concatenate(scores), kind="stable")]


def overlap(one: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Intersection over union, 0 to 1, of a box [4] with others [..., 4]."""
    starts, ends = np.maximum(one[:2], others[..., :2]), np.minimum(one[2:], others[..., 2:])
    common = (ends - starts).clip(0).prod(-1)
    areas = (one[2:] - one[:2]).prod() + (others[..., 2:] - others[..., :2]).prod(-1)
    return common / (areas - common)


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
    if left >= 0 and top >= 0 and right <= width and bottom <= height:
        face = pixels[top:bottom, left:right]
    else:
        rows = np.arange(top, bottom).clip(0, height - 1)
        columns = np.arange(left, right).clip(0, width - 1)
        face = pixels[np.ix_(rows, columns)]
    if face.shape == (FACE_SIZE, FACE_SIZE):
        return face
    resized = Image.fromarray(face).resize((FACE_SIZE, FACE_SIZE), Image.Resampling.BICUBIC)
    return np.asarray(resized)


def _best(faces: np.ndarray) -> list[np.ndarray]:
    """The first of those that overlap (non-maximum suppression)."""
    best: list[np.ndarray] = []
    for face in faces:
        if not best or (overlap(face[:4], np.array(best)[:, :4]) < _SAME).all():
            best.append(face)
    return best


def _crop(face: np.ndarray) -> Box:
    """The square around a face that was found, float [6]."""
    left, top, right, bottom, x, y = face.tolist()
    side = _BOX_TO_CROP * (right - left + bottom - top) / 2
    left, top = round(x - side / 2), round(y - _CROP_ABOVE_MIDDLE * side - side / 2)
    return left, top, left + round(side), top + round(side)
