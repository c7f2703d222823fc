"""Find the faces in a photo, and cut them out as FER2013's were."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from PIL import Image

from fer.faces import FACE_SIZE

Box = tuple[int, int, int, int]
"""Left, top, right, bottom, in pixels; right and bottom are the first outside."""

_LONG_SIDE = 448
"""Pixels to which an image is brought; the detector sees faces of some 10 to 400."""

_SURE = 0.6
"""Score, 0 to 1, from which on something is a face."""

_SAME = 0.3
"""Intersection over union from which on two boxes are of one face."""

_STRIDES = (8, 16, 32)
"""Pixels from one place where a face is looked for to the next: for small, middle, large ones."""

# How FER2013's crops lie to the detector's boxes: a box's sides are 0.94 of the crop's in the mean,
# and its centre is 0.06 of the crop below the crop's (medians of 96 faces in photos,
# docs/detection.md). The crops themselves do not tell, as they cut the chin off, where a box ends.
_BOX_TO_CROP = 1 / 0.94
_CROP_ABOVE_BOX = 0.06


class Detector:
    """YuNet (Wu, Peng and Yu 2023, Machine Intelligence Research 20:656-665).

    scripts/yunet.py made the file, and says where its weights are from. It finds faces from the
    front and from the side, up to some 30 degrees from upright. Threads may share it.
    """

    def __init__(self) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1  # several pictures at a time make better use of the cores
        path = Path(__file__).with_name("yunet.onnx")
        self.session = ort.InferenceSession(path, options, ["CPUExecutionProvider"])

    def __reduce__(self) -> tuple[Any, ...]:
        return Detector, ()

    def __call__(self, pixels: np.ndarray) -> list[Box]:
        """Square boxes of the faces in uint8 [H, W], from left to right.

        They have the margin of FER2013's crops, and may so reach beyond the image. Faces of a
        twentieth of the long side are found.
        """
        height, width = pixels.shape
        zoom = min(_LONG_SIDE / max(height, width), 2.0)
        size = (max(1, round(width * zoom)), max(1, round(height * zoom)))
        small = Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR, reducing_gap=2)
        boxes, scores = self._look(np.asarray(small))
        return sorted(_crop(boxes[one] / zoom) for one in _best(boxes, scores))

    def _look(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Boxes float32 [N, 4] of what may be faces in uint8 [H, W], and scores float32 [N]."""
        height, width = pixels.shape
        whole = np.pad(pixels, ((0, -height % _STRIDES[-1]), (0, -width % _STRIDES[-1])))
        outputs = self.session.run(None, {"pixels": whole[None, None]})
        boxes, scores = [], []
        for stride, offsets, seen in zip(_STRIDES, outputs[::2], outputs[1::2], strict=True):
            y, x = np.nonzero(seen[0, 0] >= _SURE)
            moved, logarithms = np.split(offsets[0, :, y, x], 2, axis=1)
            centers, sides = np.stack([x, y], 1) + moved, np.exp(logarithms)
            boxes.append(stride * np.concatenate([centers - sides / 2, centers + sides / 2], 1))
            scores.append(seen[0, 0, y, x])
        return np.concatenate(boxes), np.concatenate(scores)


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
    rows = np.arange(top, bottom).clip(0, height - 1)
    columns = np.arange(left, right).clip(0, width - 1)
    face = Image.fromarray(pixels[np.ix_(rows, columns)])
    return np.asarray(face.resize((FACE_SIZE, FACE_SIZE), Image.Resampling.BICUBIC))


def _best(boxes: np.ndarray, scores: np.ndarray) -> list[int]:
    """Which boxes are the best of those that overlap (non-maximum suppression)."""
    best: list[int] = []
    for one in np.argsort(-scores, kind="stable"):
        if (overlap(boxes[one], boxes[best]) < _SAME).all():
            best.append(int(one))
    return best


def _crop(box: np.ndarray) -> Box:
    """The square around a face that was found."""
    side = _BOX_TO_CROP * float((box[2:] - box[:2]).mean())
    x, y = ((box[:2] + box[2:]) / 2 - (0, _CROP_ABOVE_BOX * side)).tolist()
    left, top = round(x - side / 2), round(y - side / 2)
    return left, top, left + round(side), top + round(side)
