"""Detect the faces in a photo and crop them like those of FER2013."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from PIL import Image

from fer.core.errors import FerError
from fer.core.faces import FACE_SIZE
from fer.core.files import check_package_file

Box = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels; right and bottom are exclusive."""

Providers = Sequence[str | tuple[str, Mapping[str, Any]]]
"""Execution providers of ONNX Runtime, by name or as pairs of name and options."""

_LONG_SIDE = 448
"""Long side in pixels to which an image is resized for its large faces, but at most doubled."""

_FACE_SIDE = 48
"""Side in pixels from which the network finds almost all faces; it finds them up to 400 pixels."""

_MIN_CANDIDATE_SCORE = 0.05
"""Score of a face of half that side: 98 % have it. Such candidates are looked at more closely."""

_WINDOW = 128
"""Side in pixels of the part of an image that shows a candidate more closely."""

_MIN_FINE_SCORE = 0.7
"""Least score of a face that only a finer search finds: in a large image many places look a little
like a face."""

_TILE, _OVERLAP = 1024, 192
"""Sides in pixels of the parts in which a large image is searched, and of what two of them share;
the latter holds every face that the next smaller size would miss."""

_MAX_IOU = 0.3
"""Intersection over union from which two boxes are of the same face."""

_MAX_CONTAINED = 0.7
"""Fraction of the smaller of two boxes inside the larger from which both are of the same face: a
part of a face may be detected in another size of the image."""

_MAX_AREA_RATIO = 4
"""Ratio of areas up to which the box with the lower score may contain the other one. A larger one
is a face of its own, and the other one is a small face before it."""

_MAX_DETECTIONS = 20_000
"""Detections that are compared with each other, those of the highest scores: of 5,000 faces."""

_STRIDES = (8, 16, 32)
"""Strides of the network's outputs in pixels: for small, medium and large faces."""

# The position of FER2013's crops relative to detections: the mean side of a box is 0.94 of the
# crop's, and the center of eyes, nose and mouth is 0.12 of the crop's side below its center. These
# are medians of 96 faces in photos (docs/detection.md). FER2013 itself cannot be used, because its
# crops cut off the chin.
_BOX_TO_CROP = 1 / 0.94
_CROP_ABOVE_CENTER = 0.12


class Session(ort.InferenceSession):
    """A session of ONNX Runtime for the content of a file: in one thread, and it can be pickled.

    Raises:
        FerError: If ONNX Runtime lacks a provider, or none is named.
    """

    def __init__(self, content: bytes, providers: Providers) -> None:
        if not isinstance(providers, list | tuple) or not providers:
            raise FerError(
                f"providers is {providers!r}; pass a list such as ['CPUExecutionProvider']"
            )
        available = ort.get_available_providers()
        names = [
            entry[0] if isinstance(entry, tuple) and isinstance(entry[-1], Mapping) else entry
            for entry in providers
        ]
        if missing := [name for name in names if name not in available]:
            raise FerError(
                f"providers: this ONNX Runtime has no {missing[0]}; use {', '.join(available)}"
            )
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1  # several images in parallel make better use of the cores
        options.log_severity_level = 4  # exceptions say the same
        super().__init__(content, options, list(providers))
        if names[:1] != self.get_providers()[:1]:  # ONNX Runtime falls back
            raise FerError(
                f"providers: {names[0]} cannot be loaded here; install what it needs, or use "
                "CPUExecutionProvider"
            )
        self._arguments = content, providers

    def __reduce__(self) -> tuple[type["Session"], tuple[bytes, Providers]]:
        return type(self), self._arguments


class Detector:
    """Face detector YuNet (Wu, Peng and Yu 2023, Machine Intelligence Research 20:656-665).

    It finds faces from the front and from the side, up to about 40 degrees from upright. Threads
    may share it.

    Args:
        providers: Execution providers of ONNX Runtime in order of preference; options as in ONNX
            Runtime, by ("CUDAExecutionProvider", {"device_id": 1}).
        min_face: Side in pixels from which faces are searched for in a large image; a larger value
            takes less time. Some smaller faces are found too.
        min_score: Score, 0 to 1, from which a detection counts as a face; small faces in large
            images need at least 0.7.

    Raises:
        FerError: If `min_face` is below 24, `min_score` is not from 0 to 1, or ONNX Runtime lacks
            a provider.

    Examples:
        >>> Detector()(np.zeros((100, 100), np.uint8))
        []
    """

    def __init__(
        self,
        providers: Providers = ("CPUExecutionProvider",),
        *,
        min_face: int = 48,
        min_score: float = 0.6,
    ) -> None:
        if not isinstance(min_face, int | float | np.number) or not min_face >= _FACE_SIDE / 2:
            raise FerError(f"min_face is {min_face!r}; use {_FACE_SIDE // 2} pixels or more")
        if not isinstance(min_score, int | float | np.number) or not 0 <= min_score <= 1:
            raise FerError(f"min_score is {min_score!r}; use a number from 0 to 1")
        self.min_face, self.min_score = min_face, min_score
        network = Path(__file__).with_name("yunet.onnx")
        check_package_file(network)
        self.session = Session(network.read_bytes(), providers)

    def __call__(self, pixels: np.ndarray) -> list[Box]:
        """Return square boxes of the faces in grey pixels, uint8 [H, W], from left to right.

        The boxes have the margin of FER2013's crops, so they may reach beyond the image.
        """
        return [box for box, _ in self.detect(pixels)]

    def detect(self, pixels: np.ndarray) -> list[tuple[Box, float]]:
        """Return the boxes of `__call__`, each with the score of its detection, 0 to 1."""
        image = Image.fromarray(pixels)
        *fine, coarsest = _zooms(max(image.size), self.min_face)
        fine_score = max(self.min_score, _MIN_FINE_SCORE)
        found = [self._search(image, zoom, fine_score) for zoom in fine]
        found.append(self._search(image, coarsest, self.min_score))
        detections = non_maximum_suppression(np.concatenate(found))
        return sorted((_to_crop(row[:6]), float(row[6])) for row in detections)

    def _search(self, image: Image.Image, zoom: float, sure_score: float) -> np.ndarray:
        """Return the detections in a resized image, float [N, 7] in pixels of the image.

        What has a lower score than `sure_score` needs a closer look, if the image allows one.
        """
        closer = min(2 * zoom, _FACE_SIDE / self.min_face)
        min_score = sure_score
        if closer > 1.1 * zoom:
            min_score = min(min_score, _MIN_CANDIDATE_SCORE)
        size = (max(1, round(image.width * zoom)), max(1, round(image.height * zoom)))
        pixels = np.asarray(image.resize(size, Image.Resampling.BILINEAR, reducing_gap=2))
        step = _TILE - _OVERLAP
        found = [
            self._detect(pixels[y : y + _TILE, x : x + _TILE], min_score, zoom, x / zoom, y / zoom)
            for y in range(0, max(1, size[1] - _OVERLAP), step)
            for x in range(0, max(1, size[0] - _OVERLAP), step)
        ]
        detections = non_maximum_suppression(np.concatenate(found))
        sure = detections[:, 6] >= sure_score
        small = detections[:, 2] - detections[:, 0] < _FACE_SIDE / zoom
        candidates = detections[small & ~sure][:300]  # so that it ends soon
        looked_at = [self._look(image, candidate, closer) for candidate in candidates]
        return np.concatenate([detections[sure], *looked_at])

    def _look(self, image: Image.Image, candidate: np.ndarray, zoom: float) -> np.ndarray:
        """Return what a closer look at a candidate finds there, float [0 or 1, 7]."""
        side = _WINDOW / zoom
        center = (candidate[:2] + candidate[2:4]) / 2
        left, top = np.clip(center - side / 2, 0, np.maximum(np.array(image.size) - side, 0))
        box = (left, top, min(left + side, image.width), min(top + side, image.height))
        size = tuple(max(1, round(length * zoom)) for length in (box[2] - left, box[3] - top))
        window = np.asarray(image.resize(size, Image.Resampling.BILINEAR, box))
        found = self._detect(window, max(self.min_score, _MIN_FINE_SCORE), zoom, left, top)
        # Other detections are of faces that the window cuts off; they are candidates of their own.
        offsets = np.abs((found[:, :2] + found[:, 2:4]) / 2 - center).max(1)
        near = found[offsets < (candidate[2:4] - candidate[:2]).max() / 2]
        return near[np.argsort(-near[:, 6], kind="stable")][:1]

    def _detect(
        self, pixels: np.ndarray, min_score: float, zoom: float, left: float, top: float
    ) -> np.ndarray:
        """Return the detections in uint8 [H, W]: a part of an image from left, top on, resized.

        Returns:
            float [N, 7]: left, top, right, bottom; center of eyes, nose and mouth (x, y), all in
            pixels of the image; score.
        """
        height, width = pixels.shape
        padded = np.pad(pixels, ((0, -height % _STRIDES[-1]), (0, -width % _STRIDES[-1])))
        outputs = self.session.run(None, {"pixels": padded[None, None]})
        detections = []
        for level, stride in enumerate(_STRIDES):
            level_outputs = outputs[3 * level : 3 * level + 3]
            y, x = np.nonzero(level_outputs[2][0, 0] >= min_score)
            offsets, landmark_offsets, level_scores = (
                values[0, :, y, x] for values in level_outputs
            )
            cells, sides = np.stack([x, y], 1), np.exp(offsets[:, 2:])
            centers, landmarks = cells + offsets[:, :2], cells + landmark_offsets
            corners = [centers - sides / 2, centers + sides / 2]
            detections.append(np.hstack([stride * np.hstack([*corners, landmarks]), level_scores]))
        result = np.concatenate(detections).astype(float)
        result[:, :6] = result[:, :6] / zoom + [left, top] * 3
        return result


def non_maximum_suppression(detections: np.ndarray) -> np.ndarray:
    """Keep the highest-scoring box of each overlapping group, sorted by falling score.

    Detections are float [N, 7]: left, top, right, bottom, two more values, score. Of more than
    20,000, those of the highest scores count.
    """
    ordered = detections[np.argsort(-detections[:, 6], kind="stable")[:_MAX_DETECTIONS]]
    left, top, right, bottom = np.ascontiguousarray(ordered[:, :4].T)
    areas = (right - left) * (bottom - top)
    is_kept = np.ones(len(ordered), bool)
    for i in range(len(ordered)):
        if not is_kept[i]:
            continue
        lower = slice(i + 1, None)  # those of lower scores
        beside = (left[lower] < right[i]) & (right[lower] > left[i])
        touches = beside & (top[lower] < bottom[i]) & (bottom[lower] > top[i])
        others = i + 1 + np.flatnonzero(touches)
        widths = np.minimum(right[i], right[others]) - np.maximum(left[i], left[others])
        heights = np.minimum(bottom[i], bottom[others]) - np.maximum(top[i], top[others])
        shared = widths * heights
        overlaps = shared >= _MAX_IOU * (areas[i] + areas[others] - shared)
        contains = shared >= _MAX_CONTAINED * np.minimum(areas[i], areas[others])
        is_comparable = areas[others] <= _MAX_AREA_RATIO * areas[i]
        is_kept[others[overlaps | (contains & is_comparable)]] = False
    return ordered[is_kept]


def center_square(pixels: np.ndarray) -> Box:
    """Return the largest square in the center of grey pixels, uint8 [H, W].

    Examples:
        >>> center_square(np.zeros((100, 120), np.uint8))
        (10, 0, 110, 100)
    """
    height, width = pixels.shape
    side = min(height, width)
    left, top = (width - side) // 2, (height - side) // 2
    return left, top, left + side, top + side


def crop_face(pixels: np.ndarray, box: Box) -> np.ndarray:
    """Return the face in a box of grey pixels, uint8 [H, W], as uint8 [48, 48].

    The box is left, top, right, bottom in pixels; beyond the image, its edge repeats.

    Examples:
        >>> crop_face(np.zeros((100, 120), np.uint8), (-20, 0, 80, 100)).shape
        (48, 48)
    """
    left, top, right, bottom = box
    rows = pixels.take(np.arange(top, bottom), axis=0, mode="clip")
    face = Image.fromarray(rows.take(np.arange(left, right), axis=1, mode="clip"))
    return np.asarray(face.resize((FACE_SIZE, FACE_SIZE), Image.Resampling.BICUBIC))


def _zooms(long_side: int, min_face: int) -> list[float]:
    """Return the factors by which an image is resized, so that all its faces are found.

    Examples:
        >>> _zooms(224, 48), _zooms(4480, 48)
        ([2.0], [0.5, 0.125, 0.1])
    """
    coarsest = min(_LONG_SIDE / long_side, 2.0)
    zooms, zoom = [], _FACE_SIDE / min_face / 2  # half the side is enough for a candidate
    while zoom > 1.2 * coarsest:  # below, the gain would be a few hundredths of the faces
        zooms.append(zoom)
        zoom /= 4
    return [*zooms, coarsest]


def _to_crop(detection: np.ndarray) -> Box:
    """Return the square with FER2013's margin around a detection float [6]."""
    left, top, right, bottom, x, y = detection.tolist()
    side = _BOX_TO_CROP * (right - left + bottom - top) / 2
    left, top = round(x - side / 2), round(y - _CROP_ABOVE_CENTER * side - side / 2)
    return left, top, left + round(side), top + round(side)
