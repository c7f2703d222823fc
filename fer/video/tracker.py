"""Track faces from frame to frame of a video, and predict their emotions."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from PIL import Image

from fer.core.errors import FerError
from fer.core.threads import map_in_order
from fer.images import reading
from fer.images.detection import Box, crop_face
from fer.predict.recognizer import Face, Recognizer
from fer.video.reader import Camera, Video

_TIME_CONSTANT = 0.05
"""Seconds in which exponential smoothing of positions forgets 63 % of what was before."""

_EMOTION_TIME_CONSTANT = 0.08
"""The same for probabilities."""

# The following five were chosen by ten made clips; docs/detection.md has the table.

_MAX_GAP = 3.0
"""Seconds for which a face may be away and keep its id."""

_MAX_DISTANCE = 0.8
"""Distance, in sides of the face, up to which a detection continues a track."""

_MAX_SPEED = 2.0
"""By how much that distance grows for each second without a detection, if the looks agree."""

_SAME_LOOKS = 0.35
"""Correlation of two thumbnails from which they surely are of one face; below, the distance grows
by less."""

_MAX_SIZE_RATIO = 1.7
"""Largest ratio of the sides of two boxes of the same face."""

_STILL_AFTER = 0.5
"""Seconds without a detection after which the velocity of a face is no longer known."""

_MAX_WORKERS = 8
"""Frames in progress take memory: 25 MB each at 3840 x 2160."""

_THUMBNAIL = 16
"""Side in pixels at which two faces are compared; their edges may be cut off differently."""


@dataclass(frozen=True)
class Frame:
    """A frame of a video, and its faces.

    Attributes:
        seconds: Time from the start of the video.
        image: The frame in RGB.
        faces: Its faces from left to right. A face keeps its `id` from frame to frame.
    """

    seconds: float
    image: Image.Image
    faces: list[Face]


def predict_video(
    recognizer: Recognizer,
    source: str | os.PathLike[str] | Camera | Video,
    *,
    every: int = 1,
) -> Iterator[Frame]:
    """Yield the frames of a video with their faces.

    Faces are tracked: each keeps its `id` from frame to frame, and its probabilities are smoothed
    over time.

    Args:
        recognizer: Its detector and model are used.
        source: The path of a file, the URL of a stream, a camera or an open video.
        every: 1 for each frame, 2 for each second one, and so on.

    Raises:
        FerError: If there is no such video, or `every` is below 1. While iterating: at the end, if
            a part of the video could not be read.

    Examples:
        for frame in predict_video(Recognizer(), "in.mp4"):
            print(frame.seconds, [face.emotion for face in frame.faces])
    """
    if not (isinstance(every, int | np.integer) and every >= 1):
        raise FerError(f"every is {every!r}; use 1 for each frame, 2 for each second one, ...")
    video = source if isinstance(source, Video) else Video(source)
    return _predict_frames(recognizer, video, every)


def _predict_frames(recognizer: Recognizer, video: Video, every: int) -> Iterator[Frame]:
    def detect(frame: tuple[float, Image.Image]) -> Any:
        pixels = reading.grey(frame[1])
        return *frame, pixels, detect_faces(recognizer, pixels)

    # The newest frame of a camera cannot wait for others.
    workers = min(recognizer.threads, _MAX_WORKERS)
    run = map if video.is_live else partial(map_in_order, workers=workers)
    tracker = Tracker(recognizer)
    for seconds, image, pixels, detections in run(detect, video.frames(every)):
        yield Frame(seconds, image, tracker.track(pixels, detections, seconds))
    video.check_damage()


@dataclass(eq=False)
class Detection:
    """A face in one frame."""

    center: np.ndarray  # float [2]
    side: float
    score: float | None
    appearance: np.ndarray  # float [16, 16], mean 0 and standard deviation 1


@dataclass(eq=False)
class _Track:
    id: int
    seconds: float  # of the last detection
    center: np.ndarray  # float [2], smoothed
    side: float  # smoothed
    appearance: np.ndarray  # smoothed
    velocity: np.ndarray  # float [2], pixels per second
    gap: float = 0.0  # seconds between the last two detections
    probabilities: np.ndarray | None = None  # float [C], smoothed

    def cost(self, detection: Detection, seconds: float) -> float:
        """Return how little a detection fits; infinity if it is of another face.

        A face is expected where its velocity leads, or where it was last seen.
        """
        gap = seconds - self.seconds
        expected = np.stack([self.center, self.center + gap * self.velocity])
        sides = sorted([self.side, detection.side])
        distance = np.linalg.norm(expected - detection.center, axis=1).min() / sides[1]
        correlation = (self.appearance * detection.appearance).mean()
        limit = _MAX_DISTANCE + _MAX_SPEED * gap * np.clip(correlation / _SAME_LOOKS, 0, 1)
        if distance > limit or sides[1] > _MAX_SIZE_RATIO * sides[0]:
            return np.inf
        return float(distance / limit + sides[1] / sides[0] / 2 - correlation)

    def update(self, detection: Detection, seconds: float) -> None:
        """Move towards a detection: an alpha-beta filter.

        Beta follows from alpha (Benedict and Bordner 1962, IRE Transactions AC-7:27-32).
        """
        self.gap = gap = seconds - self.seconds
        alpha = 1 - np.exp(-gap / _TIME_CONSTANT)
        if gap > _STILL_AFTER:
            self.center, self.velocity = detection.center, np.zeros(2)
        else:
            predicted = self.center + gap * self.velocity
            residual = detection.center - predicted
            self.center = predicted + alpha * residual
            self.velocity = self.velocity + alpha**2 / (2 - alpha) / gap * residual
        self.side += alpha * (detection.side - self.side)
        self.appearance = 0.8 * self.appearance + 0.2 * detection.appearance
        self.seconds = seconds

    def box(self, shape: tuple[int, ...]) -> Box:
        """Return the box in whole pixels; it overlaps an image of a shape [H, W]."""
        side = max(2, round(self.side))
        left, top = np.rint(self.center.clip(0, shape[::-1]) - side / 2).astype(int).tolist()
        return left, top, left + side, top + side

    def smooth(self, face: Face) -> Face:
        """Return a face with the id of the track and smoothed probabilities, without emotion."""
        values = np.array(list(face.probabilities.values()))
        if self.probabilities is not None:
            weight = np.exp(-self.gap / _EMOTION_TIME_CONSTANT)
            values = weight * self.probabilities + (1 - weight) * values
        self.probabilities = values
        by_class = dict(zip(face.probabilities, values.tolist(), strict=True))
        return replace(face, id=self.id, probabilities=by_class, emotion=None)


class Tracker:
    """Predict the emotions in one video, frame by frame.

    Detections are matched with the faces of earlier frames by position, size and appearance.
    Positions and probabilities are smoothed exponentially. A face that is missed, hidden or away
    for up to three seconds keeps its `id`.
    """

    def __init__(self, recognizer: Recognizer) -> None:
        self.recognizer, self.tracks, self.next_id = recognizer, list[_Track](), 0

    def track(self, pixels: np.ndarray, detections: list[Detection], seconds: float) -> list[Face]:
        """Return the faces from left to right in the next frame, with grey pixels uint8 [H, W]."""
        pairs = self._match(detections, seconds)
        pairs.sort(key=lambda pair: pair[0].center[0] - pair[0].side / 2)
        boxes = [track.box(pixels.shape) for track, _ in pairs]
        faces = self.recognizer.predict(pixels, boxes=boxes)
        results = []
        for (track, detection), face in zip(pairs, faces, strict=True):
            smooth = track.smooth(face)
            emotion = self.recognizer.emotion(smooth.probabilities)
            results.append(replace(smooth, emotion=emotion, score=detection.score))
        return results

    def _match(self, detections: list[Detection], seconds: float) -> list[tuple[_Track, Detection]]:
        """Return the track of each detection: that which it fits best, or a new one."""
        self.tracks = [t for t in self.tracks if seconds - t.seconds <= _MAX_GAP]
        costs = sorted(
            (track.cost(detection, seconds), i, j)
            for i, track in enumerate(self.tracks)
            for j, detection in enumerate(detections)
        )
        by_detection: dict[int, _Track] = {}
        for cost, i, j in costs:
            track = self.tracks[i]
            if cost < np.inf and j not in by_detection and track not in by_detection.values():
                track.update(detections[j], seconds)
                by_detection[j] = track
        for j, new in enumerate(detections):
            if j not in by_detection:
                by_detection[j] = _Track(
                    self.next_id, seconds, new.center, new.side, new.appearance, np.zeros(2)
                )
                self.tracks.append(by_detection[j])
                self.next_id += 1
        return [(by_detection[j], detection) for j, detection in enumerate(detections)]


def detect_faces(recognizer: Recognizer, pixels: np.ndarray) -> list[Detection]:
    """Return the faces in grey pixels, uint8 [H, W]."""
    detections = []
    for box, score in recognizer.detect(pixels):
        left, top, right, bottom = box
        thumbnail = Image.fromarray(crop_face(pixels, box)).resize((_THUMBNAIL, _THUMBNAIL))
        values = np.asarray(thumbnail, float)
        appearance = (values - values.mean()) / max(values.std(), 1e-6)
        center = np.array([left + right, top + bottom]) / 2
        side = (right - left + bottom - top) / 2
        detections.append(Detection(center, side, score, appearance))
    return detections
