"""Faces from frame to frame of a video."""

from dataclasses import dataclass, replace

import cv2
import numpy as np
from PIL import Image

from fer.predict import images
from fer.predict.detection import Box, overlap
from fer.predict.recognizer import Face, Recognizer

_EVERY = 10
"""Frames from one search for faces to the next; between, what is there is followed."""

_KEEP = 0.6
"""How much stays of probabilities from a frame, and of a box from a search, to the next."""

_SAME = 0.3
"""Intersection over union from which on a face that is found is one that was known."""

_POINTS = np.linspace(0.25, 0.75, 5)
"""Where in a box motion is looked at, in each direction."""


@dataclass
class _Track:
    id: int
    box: np.ndarray  # float [4], smoothed
    probabilities: np.ndarray | None = None  # float [7], smoothed
    missed: bool = False  # by the last search


class Tracker:
    """Tells the emotions in one video, frame after frame.

    Faces are searched for in every 10th frame, and followed by optical flow between (Lucas and
    Kanade 1981, IJCAI:674-679). Boxes and probabilities are smoothed in time (exponentially).
    A face has the same `id` from frame to frame, and another once it was lost.
    """

    def __init__(self, recognizer: Recognizer) -> None:
        self.recognizer = recognizer
        self.tracks: list[_Track] = []
        self.frame, self.known = 0, 0
        self.before: np.ndarray | None = None

    def __call__(self, image: Image.Image) -> list[Face]:
        """The faces in the next frame, from left to right."""
        pixels = images.grey(image)
        self._follow(pixels)
        if self.frame % _EVERY == 0:
            self._search(pixels)
        self.frame, self.before = self.frame + 1, pixels
        self.tracks.sort(key=lambda track: track.box[0])
        boxes = [_whole(track.box) for track in self.tracks]
        faces = self.recognizer.in_boxes(pixels, boxes)
        return [self._smooth(*both) for both in zip(self.tracks, faces, strict=True)]

    def _follow(self, pixels: np.ndarray) -> None:
        """Move each track as the middle of its points moves."""
        if self.before is None or self.before.shape != pixels.shape or not self.tracks:
            return
        grid = np.stack(np.meshgrid(_POINTS, _POINTS), -1).reshape(-1, 2)
        old = [t.box[:2] + grid * (t.box[2:] - t.box[:2]) for t in self.tracks]
        points = np.concatenate(old).astype(np.float32)[:, None]
        guess = points.copy()
        moved, there, _ = cv2.calcOpticalFlowPyrLK(self.before, pixels, points, guess)
        steps = (np.asarray(moved) - points).reshape(len(self.tracks), -1, 2)
        seen = np.asarray(there).reshape(len(self.tracks), -1).astype(bool)
        for track, step, known in zip(self.tracks, steps, seen, strict=True):
            if known.any():
                track.box = track.box + np.tile(np.median(step[known], 0), 2)

    def _search(self, pixels: np.ndarray) -> None:
        """Take what the detector finds: known faces move towards it, the others are new.

        A known face that it does not find is gone the second time.
        """
        rest, self.tracks = self.tracks, []
        for box in np.array(self.recognizer.detector(pixels), float).reshape(-1, 4):
            track = max(rest, key=lambda track: overlap(track.box, box), default=None)
            if track is None or overlap(track.box, box) < _SAME:
                track = _Track(self.known, box)
                self.known += 1
            else:
                rest.remove(track)
                track.missed = False
                track.box = _KEEP * track.box + (1 - _KEEP) * box
            self.tracks.append(track)
        for track in rest:
            if not track.missed:
                track.missed = True
                self.tracks.append(track)

    def _smooth(self, track: _Track, face: Face) -> Face:
        now = np.array(list(face.probabilities.values()))
        if track.probabilities is not None:
            now = _KEEP * track.probabilities + (1 - _KEEP) * now
        track.probabilities = now
        named = dict(zip(face.probabilities, now.tolist(), strict=True))
        return replace(
            face, id=track.id, probabilities=named, emotion=max(named, key=lambda k: named[k])
        )


def _whole(box: np.ndarray) -> Box:
    """A square box of whole pixels."""
    left, top, right, _ = box
    side = max(1, round(right - left))
    return round(left), round(top), round(left) + side, round(top) + side
