"""Track faces from frame to frame of a video."""

from dataclasses import dataclass, replace

import cv2
import numpy as np
from PIL import Image

from fer.predict import images
from fer.predict.detection import Box, iou
from fer.predict.recognizer import Face, Recognizer

_DETECTION_INTERVAL = 10
"""Frames between two detections; faces are followed between."""

_SMOOTHING = 0.6
"""Weight of the previous value in exponential smoothing of boxes and probabilities."""

_MIN_IOU = 0.3
"""Intersection over union from which a detection continues a track."""

_POINTS = np.linspace(0.25, 0.75, 5)
"""Positions in a box, in each direction, whose motion is measured."""


@dataclass
class _Track:
    id: int
    box: np.ndarray  # float [4], smoothed
    probabilities: np.ndarray | None = None  # float [C], smoothed
    missed: bool = False  # by the last detection


class Tracker:
    """Predict the emotions in one video, frame by frame.

    Faces are detected in every 10th frame and followed by optical flow between (Lucas and Kanade
    1981, IJCAI:674-679). Boxes and probabilities are smoothed exponentially. A face keeps its `id`
    from frame to frame; after it was lost, it gets another.

    Args:
        recognizer: Its detector and model are used.
    """

    def __init__(self, recognizer: Recognizer) -> None:
        self.recognizer = recognizer
        self.tracks: list[_Track] = []
        self.frame, self.next_id = 0, 0
        self.previous: np.ndarray | None = None

    def __call__(self, image: Image.Image) -> list[Face]:
        """Return the faces in the next frame, from left to right.

        Args:
            image: The frame.
        """
        pixels = images.grey(image)
        self._follow(pixels)
        if self.frame % _DETECTION_INTERVAL == 0:
            self._detect(pixels)
        self.frame, self.previous = self.frame + 1, pixels
        self.tracks.sort(key=lambda track: track.box[0])
        boxes = [_to_pixels(track.box) for track in self.tracks]
        faces = self.recognizer.predict_boxes(pixels, boxes)
        return [self._smooth(*pair) for pair in zip(self.tracks, faces, strict=True)]

    def _follow(self, pixels: np.ndarray) -> None:
        """Move each track by the median motion of its points."""
        if self.previous is None or self.previous.shape != pixels.shape or not self.tracks:
            return
        grid = np.stack(np.meshgrid(_POINTS, _POINTS), -1).reshape(-1, 2)
        positions = [t.box[:2] + grid * (t.box[2:] - t.box[:2]) for t in self.tracks]
        points = np.concatenate(positions).astype(np.float32)[:, None]
        guess = points.copy()
        moved, status, _ = cv2.calcOpticalFlowPyrLK(self.previous, pixels, points, guess)
        motions = (np.asarray(moved) - points).reshape(len(self.tracks), -1, 2)
        valid = np.asarray(status).reshape(len(self.tracks), -1).astype(bool)
        for track, motion, is_valid in zip(self.tracks, motions, valid, strict=True):
            if is_valid.any():
                track.box = track.box + np.tile(np.median(motion[is_valid], 0), 2)

    def _detect(self, pixels: np.ndarray) -> None:
        """Match detections with tracks, start new tracks, end tracks that were missed twice."""
        unmatched, self.tracks = self.tracks, []
        for box in np.array(self.recognizer.detector(pixels), float).reshape(-1, 4):
            track = max(unmatched, key=lambda track: iou(track.box, box), default=None)
            if track is None or iou(track.box, box) < _MIN_IOU:
                track = _Track(self.next_id, box)
                self.next_id += 1
            else:
                unmatched.remove(track)
                track.missed = False
                track.box = _SMOOTHING * track.box + (1 - _SMOOTHING) * box
            self.tracks.append(track)
        for track in unmatched:
            if not track.missed:
                track.missed = True
                self.tracks.append(track)

    def _smooth(self, track: _Track, face: Face) -> Face:
        values = np.array(list(face.probabilities.values()))
        if track.probabilities is not None:
            values = _SMOOTHING * track.probabilities + (1 - _SMOOTHING) * values
        track.probabilities = values
        by_class = dict(zip(face.probabilities, values.tolist(), strict=True))
        emotion = max(by_class, key=lambda name: by_class[name])
        return replace(face, id=track.id, probabilities=by_class, emotion=emotion)


def _to_pixels(box: np.ndarray) -> Box:
    """Round a box to a square of whole pixels."""
    left, top, right, _ = box
    side = max(1, round(right - left))
    return round(left), round(top), round(left) + side, round(top) + side
