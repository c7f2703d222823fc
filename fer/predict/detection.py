"""Detect the faces in a photo and crop them like those of FER2013."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime as ort
from PIL import Image

from fer import deprecated
from fer.faces import FACE_SIZE
from fer.files import read_verified

Box = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels; right and bottom are exclusive."""

_LONG_SIDE = 448
"""Long side in pixels to which an image is resized, but at most doubled; it shows faces of 10 to
400 pixels."""

_MIN_SCORE = 0.6
"""Score, 0 to 1, from which a detection counts as a face."""

_MAX_IOU = 0.3
"""Intersection over union from which two boxes are of the same face."""

_STRIDES = (8, 16, 32)
"""Strides of the network's outputs in pixels: for small, medium and large faces."""

# The position of FER2013's crops relative to detections: the mean side of a box is 0.94 of the
# crop's, and the center of eyes, nose and mouth is 0.12 of the crop's side below its center. These
# are medians of 96 faces in photos (docs/detection.md). FER2013 itself cannot be used, because its
# crops cut off the chin.
_BOX_TO_CROP = 1 / 0.94
_CROP_ABOVE_CENTER = 0.12

if not TYPE_CHECKING:  # so that mypy still knows which names there are
    __getattr__ = deprecated.renamed(
        __name__, {"middle": "center_square", "cut": "crop_face", "overlap": "iou"}
    )


class Detector:
    """Face detector YuNet (Wu, Peng and Yu 2023, Machine Intelligence Research 20:656-665).

    It finds faces from the front and from the side, up to about 40 degrees from upright. Threads
    may share it. scripts/yunet.py made its file.

    Examples:
        >>> Detector()(np.zeros((100, 100), np.uint8))
        []
    """

    def __init__(self) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1  # several images in parallel make better use of the cores
        options.log_severity_level = 4  # exceptions say the same
        content = read_verified(Path(__file__).with_name("yunet.onnx"))
        self.session = ort.InferenceSession(content, options, ["CPUExecutionProvider"])

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), ()

    def __call__(self, pixels: np.ndarray) -> list[Box]:
        """Return square boxes of the faces, from left to right.

        The boxes have the margin of FER2013's crops, so they may reach beyond the image. Faces from
        a twentieth of the long side are found.

        Args:
            pixels: Grey image, uint8 [H, W].
        """
        height, width = pixels.shape
        zoom = min(_LONG_SIDE / max(height, width), 2.0)
        size = (max(1, round(width * zoom)), max(1, round(height * zoom)))
        small = Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR, reducing_gap=2)
        detections = _non_maximum_suppression(self._detect(np.asarray(small)))
        return sorted(_to_crop(detection / zoom) for detection in detections)

    def _detect(self, pixels: np.ndarray) -> np.ndarray:
        """Return detections in uint8 [H, W], sorted by falling score.

        Returns:
            float [N, 6]: left, top, right, bottom, and the center of eyes, nose and mouth (x, y).
        """
        height, width = pixels.shape
        padded = np.pad(pixels, ((0, -height % _STRIDES[-1]), (0, -width % _STRIDES[-1])))
        outputs = self.session.run(None, {"pixels": padded[None, None]})
        detections, scores = [], []
        for level, stride in enumerate(_STRIDES):
            level_outputs = outputs[3 * level : 3 * level + 3]
            y, x = np.nonzero(level_outputs[2][0, 0] >= _MIN_SCORE)
            offsets, landmark_offsets, level_scores = (
                values[0, :, y, x] for values in level_outputs
            )
            cells, sides = np.stack([x, y], 1), np.exp(offsets[:, 2:])
            centers, landmarks = cells + offsets[:, :2], cells + landmark_offsets
            corners = [centers - sides / 2, centers + sides / 2]
            detections.append(stride * np.hstack([*corners, landmarks]))
            scores.append(level_scores[:, 0])
        return np.concatenate(detections)[np.argsort(-np.concatenate(scores), kind="stable")]


def iou(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the intersection over union of a box with others, 0 to 1, float [...].

    Args:
        box: Left, top, right, bottom, float [4].
        others: Other boxes, float [..., 4].

    Examples:
        >>> iou(np.array([0, 0, 2, 2]), np.array([[0, 0, 2, 2], [1, 0, 3, 2], [5, 5, 6, 6]]))
        array([1.        , 0.33333333, 0.        ])
    """
    starts, ends = np.maximum(box[:2], others[..., :2]), np.minimum(box[2:], others[..., 2:])
    intersection = (ends - starts).clip(0).prod(-1)
    areas = (box[2:] - box[:2]).prod() + (others[..., 2:] - others[..., :2]).prod(-1)
    return intersection / (areas - intersection)


def center_square(pixels: np.ndarray) -> Box:
    """Return the largest square in the center of an image.

    Args:
        pixels: Grey image, uint8 [H, W].

    Examples:
        >>> center_square(np.zeros((100, 120), np.uint8))
        (10, 0, 110, 100)
    """
    height, width = pixels.shape
    side = min(height, width)
    left, top = (width - side) // 2, (height - side) // 2
    return left, top, left + side, top + side


def crop_face(pixels: np.ndarray, box: Box) -> np.ndarray:
    """Return the face in a box, uint8 [48, 48]; beyond the image, its edge repeats.

    Args:
        pixels: Grey image, uint8 [H, W].
        box: Left, top, right, bottom in pixels.

    Examples:
        >>> crop_face(np.zeros((100, 120), np.uint8), (-20, 0, 80, 100)).shape
        (48, 48)
    """
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


def _non_maximum_suppression(detections: np.ndarray) -> list[np.ndarray]:
    """Keep the highest-scoring box of each overlapping group of sorted detections float [N, 6]."""
    kept: list[np.ndarray] = []
    for detection in detections:
        if not kept or (iou(detection[:4], np.array(kept)[:, :4]) < _MAX_IOU).all():
            kept.append(detection)
    return kept


def _to_crop(detection: np.ndarray) -> Box:
    """Return the square with FER2013's margin around a detection float [6]."""
    left, top, right, bottom, x, y = detection.tolist()
    side = _BOX_TO_CROP * (right - left + bottom - top) / 2
    left, top = round(x - side / 2), round(y - _CROP_ABOVE_CENTER * side - side / 2)
    return left, top, left + round(side), top + round(side)
