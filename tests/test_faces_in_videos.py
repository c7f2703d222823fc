"""Track faces: ids, smoothing."""

import numpy as np
import pytest
from PIL import Image
from test_recognizer import PHOTO

from fer import Recognizer
from fer.video.tracker import Tracker, detect_faces

SIDE, SIZE, RATE = 100, (400, 300), 25


def texture(seed):
    """Return what a face of its own looks like."""
    values = np.random.default_rng(seed).integers(0, 256, (8, 8), dtype=np.uint8)
    return Image.fromarray(values).resize((SIDE, SIDE), Image.Resampling.BICUBIC)


class Clip:
    """Show faces by their number at positions (left, top), frame by frame."""

    def __init__(self):
        self.boxes = []
        self.recognizer = Recognizer(detector=lambda pixels: self.boxes)
        self.tracker, self.seconds = Tracker(self.recognizer), 0.0

    def show(self, faces, hidden=(), seconds=None):
        """Return the id of each face that is seen; faces come from back to front."""
        frame = Image.new("L", SIZE, 100)
        for number, (left, top) in faces.items():
            frame.paste(texture(number), (round(left), round(top)))
        seen = {n: box_at(*position) for n, position in faces.items() if n not in hidden}
        self.boxes = list(seen.values())
        found = self.track(frame, seconds)

        def nearest(box):
            return min(found, key=lambda face: abs(np.subtract(face.box, box)).sum())

        return {n: nearest(box).id for n, box in seen.items()}

    def track(self, frame, seconds=None):
        """Return the faces in the next frame; by default, frames come at 25 per second."""
        self.seconds = self.seconds + 1 / RATE if seconds is None else seconds
        return track(self.tracker, frame, self.seconds)


def track(tracker, frame, seconds):
    pixels = np.asarray(frame.convert("L"))
    return tracker.track(pixels, detect_faces(tracker.recognizer, pixels), seconds)


def box_at(left, top):
    return round(left), round(top), round(left) + SIDE, round(top) + SIDE


@pytest.fixture
def clip():
    return Clip()


@pytest.mark.parametrize("speed", [5, 8])
def test_a_face_that_moves_and_is_missed_in_some_frames_keeps_its_id(clip, speed):
    for n in range(25):
        hidden = {0} if n % 5 == 3 else ()
        assert clip.show({0: (10 + speed * n, 50)}, hidden) == ({} if hidden else {0: 0})


def test_faces_that_cross_keep_their_ids(clip):
    for n in range(50):
        behind, front = (20 + 5 * n, 60), (270 - 5 * n, 70)
        is_covered = abs(behind[0] - front[0]) < 70
        ids = clip.show({0: behind, 1: front}, hidden={0} if is_covered else ())
        assert ids == ({1: 1} if is_covered else {0: 0, 1: 1})


def test_a_face_that_comes_back_after_a_second_keeps_its_id(clip):
    for n in range(10):
        clip.show({0: (250 + 10 * n, 50), 1: (20, 150)})  # to the right edge
    for _ in range(RATE):
        assert clip.show({1: (20, 150)}) == {1: 1}
    assert clip.show({0: (330, 60), 1: (20, 150)}) == {0: 0, 1: 1}


def test_a_face_elsewhere_or_much_later_is_another_one(clip):
    clip.show({0: (20, 50)})
    assert clip.show({1: (290, 150)}) == {1: 1}
    assert clip.show({0: (20, 50)}, seconds=10.0) == {0: 2}
    assert clip.show({0: (20, 50)}, seconds=10.1) == {0: 2}
    assert clip.show({1: (290, 190)}, seconds=12.1) == {1: 3}  # another person


def test_two_faces_that_come_back_are_told_apart_by_their_looks(clip):
    for _ in range(10):
        clip.show({0: (60, 50), 1: (180, 50)})
    for _ in range(RATE):
        clip.show({})
    assert clip.show({0: (130, 50), 1: (110, 50)}, hidden={0}) == {1: 1}  # nearer to where 0 was


def test_box_follows_without_lag_and_does_not_jump(clip):
    lefts, expected = [], []
    for n in range(50):
        jitter = 6 * (-1) ** n
        clip.boxes = [box_at(10 + 4 * n + jitter, 50)]
        (face,) = clip.track(Image.new("L", SIZE, 100))
        lefts.append(face.box[0])
        expected.append(10 + 4 * n)
    errors = np.subtract(lefts, expected)[10:]
    assert abs(errors.mean()) < 1
    assert errors.std() < 4  # of the detections: 6


def test_faces_come_from_left_to_right_with_the_score_of_their_detection():
    photo = Image.open(PHOTO).convert("RGB")
    frame = Image.new("RGB", (2 * photo.width, photo.height))
    frame.paste(photo, (0, 0))
    frame.paste(photo, (photo.width, 0))
    faces = track(Tracker(Recognizer()), frame, 0.0)
    assert [face.id for face in faces] == [0, 1]
    assert faces[0].box[0] < faces[1].box[0]
    assert all(face.score > 0.6 for face in faces)


def test_probabilities_are_smoothed_by_time(clip):
    box = [box_at(50, 50)]
    noise = [
        Image.fromarray(np.random.default_rng(n).integers(0, 256, SIZE[::-1], np.uint8))
        for n in range(8)
    ]
    recognizer = clip.recognizer
    plain = [recognizer.predict(frame, boxes=box)[0] for frame in noise]
    clip.boxes = box

    def total_change(faces):
        return np.abs(np.diff([list(face.probabilities.values()) for face in faces], axis=0)).sum()

    smooth = [clip.track(frame)[0] for frame in noise]
    assert total_change(smooth) < 0.6 * total_change(plain)
    assert sum(smooth[-1].probabilities.values()) == pytest.approx(1, abs=1e-5)
    highest = [max(face.probabilities.values()) for face in smooth]
    recognizer.min_confidence = np.median(highest)  # of the smoothed ones
    clip.tracker = Tracker(recognizer)
    emotions = [clip.track(frame)[0].emotion for frame in noise]
    assert [e is None for e in emotions] == [p < np.median(highest) for p in highest]
    slow = Tracker(recognizer)
    apart = [track(slow, frame, 2.0 * number)[0] for number, frame in enumerate(noise)]
    assert total_change(apart) == pytest.approx(total_change(plain), rel=1e-3)
