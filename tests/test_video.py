import csv
import json
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from test_recognizer import PHOTO

from fer import Recognizer
from fer.errors import FerError
from fer.predict import cli, table, tracking, video
from fer.predict.tracking import Tracker


def make_video(path, frames=6, rate=5.0, step=10):
    """Write a video of the photo, which moves down by `step` pixels per frame."""
    image = Image.open(PHOTO).convert("RGB")
    with video.writer(path, rate) as file:
        for number in range(frames):
            frame = Image.new("RGB", image.size)
            frame.paste(image, (0, step * number))
            file.write(frame)
    return path


@pytest.fixture
def run(monkeypatch, capsys):
    """Run `fer predict`; return exit status, standard output and standard error."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["fer", "predict", *map(str, arguments)])
        try:
            cli.main()
        except SystemExit as stop:
            return stop.code, *capsys.readouterr()
        return 0, *capsys.readouterr()

    return run


def test_video_as_json_and_drawn(run, tmp_path):
    path = make_video(tmp_path / "in.mp4")
    status, out, err = run("--video", path, "--json", "--draw", tmp_path / "out.mp4")
    assert (status, err) == (0, "")
    frames = [json.loads(line) for line in out.splitlines()]
    assert [frame["seconds"] for frame in frames] == [0, 0.2, 0.4, 0.6, 0.8, 1.0]
    tops = [frame["faces"][0]["box"][1] for frame in frames]
    assert tops == sorted(tops)
    assert tops[-1] - tops[0] == pytest.approx(50, abs=3)
    assert {frame["faces"][0]["id"] for frame in frames} == {0}
    drawn = [frame for _, frame in video.Video(tmp_path / "out.mp4")]
    assert len(drawn) == 6
    assert drawn[0].size == Image.open(PHOTO).size


def test_csv_of_a_video(run, tmp_path):
    path = make_video(tmp_path / "in.mp4", frames=2)
    _, out, _ = run("--video", path, "--csv")
    rows = list(csv.DictReader(out.splitlines()))
    assert [(row["seconds"], row["id"]) for row in rows] == [("0.0", "0"), ("0.2", "0")]
    assert list(rows[0])[:9] == [
        *("file", "seconds", "id", "left", "top", "right", "bottom", "score", "emotion")
    ]


def test_data_frame():
    recognizer = Recognizer()
    (face,) = recognizer.predict(PHOTO)
    frame = table.to_frame([("a.jpg", None, [face]), ("b.jpg", None, [])], recognizer.classes)
    assert list(frame["file"]) == ["a.jpg", "b.jpg"]
    assert frame.loc[0, "emotion"] == face.emotion
    assert frame.loc[0, face.emotion] == pytest.approx(face.probabilities[face.emotion], abs=1e-4)
    assert frame.iloc[1].drop("file").isna().all()


@pytest.mark.parametrize(
    ("start", "end", "message"),
    [(0.1, 0.9, "is damaged: "), (0.5, 1.0, "is not a video")],
)
def test_damaged_video(run, tmp_path, start, end, message):
    path = make_video(tmp_path / "in.mp4", frames=10)
    content = bytearray(path.read_bytes())
    start_byte, end_byte = int(start * len(content)), int(end * len(content))
    content[start_byte:end_byte] = b"" if end == 1 else bytes(end_byte - start_byte)
    path.write_bytes(content)
    status, _, err = run("--video", path)
    assert str(status).startswith(f"error: {path}: {message}")
    assert err == ""


@pytest.mark.parametrize(("name", "code"), [("v.avi", "MJPG"), ("v.mkv", "mp4v")])
def test_truncated_video(run, tmp_path, name, code):
    path = tmp_path / name
    file = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*code), 25, (64, 64))
    for frame in np.random.default_rng(0).integers(0, 256, (50, 64, 64, 3), np.uint8):
        file.write(frame)
    file.release()
    assert run("--video", path)[0] == 0
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    status, out, _ = run("--video", path)
    assert str(status).startswith(f"error: {path}: is damaged: ")
    assert out.count("\n") > 10  # the frames before the damage are printed


def test_text_is_no_video(run, tmp_path):
    (tmp_path / "notes.txt").write_text("no video\n" * 500)
    for _ in range(2):
        assert run("--video", tmp_path / "notes.txt") == (
            f"error: {tmp_path / 'notes.txt'}: is not a video that OpenCV can read; convert it to "
            "MP4",
            "",
            "",
        )


def test_video_that_cannot_be_written(tmp_path, monkeypatch):
    class Closed:
        fourcc = cv2.VideoWriter.fourcc

        def __init__(self, *arguments):
            pass

        def isOpened(self):  # noqa: N802
            return False

    monkeypatch.setattr(video.cv2, "VideoWriter", Closed)
    with (
        pytest.raises(FerError, match="OpenCV cannot write frames of"),
        video.writer(tmp_path / "v.mp4", 5.0) as file,
    ):
        file.write(Image.new("RGB", (64, 64)))
    assert list(tmp_path.iterdir()) == []


def test_without_opencv(run, monkeypatch):
    for name in ("fer.predict.video", "fer.predict.tracking"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "cv2", None)  # which makes its import fail
    message = "error: videos need OpenCV: pip install opencv-python-headless"
    assert run("--video", "in.mp4") == (message, "", "")
    assert run(PHOTO)[0] == 0


@pytest.mark.skipif(Path("/dev/video0").exists(), reason="has a camera")
def test_missing_camera_is_a_clear_error(run):
    assert run("--webcam") == ("error: --webcam: there is no camera; connect one", "", "")


def test_camera_frames_have_the_time_of_the_clock(monkeypatch):
    class Camera:
        frames_left = 3

        def __init__(self, source):
            pass

        def isOpened(self):  # noqa: N802
            return True

        def get(self, property_id):
            return 30.0  # frames per second, although a frame takes 50 ms

        def read(self):
            time.sleep(0.05)
            self.frames_left -= 1
            return self.frames_left >= 0, np.zeros((8, 8, 3), np.uint8)

        def release(self):
            pass

    monkeypatch.setattr(video.cv2, "VideoCapture", Camera)
    seconds = []
    with pytest.raises(FerError, match="no more frames"):
        seconds += (at for at, _ in video.Video(None))
    seconds = np.array(seconds)
    assert (np.diff(seconds) >= 0.05).all()


def test_incomplete_video_is_not_written(tmp_path):
    with pytest.raises(FerError, match="has no frames"), video.writer(tmp_path / "v.mp4", 5.0):
        pass
    with (
        pytest.raises(FerError, match=r"use the suffix \.mp4"),
        video.writer(tmp_path / "v.mov", 5.0),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


class Detector:
    """A detector that returns the boxes set by a test."""

    def __init__(self):
        self.boxes, self.calls = [], 0

    def __call__(self, pixels):
        self.calls += 1
        return self.boxes


@pytest.fixture
def detector():
    return Detector()


@pytest.fixture
def tracker(detector):
    return Tracker(Recognizer(detector=detector))


def frame_at(left, top):
    """A frame with a texture of 100 x 100 pixels at a position."""
    texture = np.random.default_rng(0).integers(0, 256, (25, 25), dtype=np.uint8)
    frame = Image.new("L", (400, 300), 100)
    frame.paste(Image.fromarray(texture).resize((100, 100), Image.Resampling.BICUBIC), (left, top))
    return frame


def test_faces_are_followed_between_detections(tracker, detector):
    detector.boxes = [(50, 50, 150, 150)]
    for number in range(tracking._DETECTION_INTERVAL):
        (face,) = tracker(frame_at(50 + 4 * number, 50 + 2 * number))
        assert face.id == 0
        moved = (4 * number, 2 * number) * 2
        np.testing.assert_allclose(face.box, np.add((50, 50, 150, 150), moved), atol=3)
    assert detector.calls == 1


def test_box_does_not_jump_with_the_detector(tracker, detector):
    lefts = []
    for number in range(4 * tracking._DETECTION_INTERVAL):
        jump = 20 * (number // tracking._DETECTION_INTERVAL % 2)
        detector.boxes = [(50 + jump, 50, 150 + jump, 150)]
        lefts.append(tracker(frame_at(50, 50))[0].box[0])
    assert np.abs(np.diff(lefts)).max() < 10


def test_probabilities_are_smoothed(tracker, detector):
    detector.boxes = [(50, 50, 150, 150)]
    noise = [Image.fromarray(np.random.default_rng(n).integers(0, 256, (300, 400), np.uint8))
             for n in range(8)]  # fmt: skip
    plain = [tracker.recognizer.predict(frame, boxes=detector.boxes)[0] for frame in noise]
    tracker._follow = lambda pixels: None  # noise would mislead the optical flow
    smooth = [tracker(frame)[0] for frame in noise]

    def total_change(faces):
        return np.abs(np.diff([list(face.probabilities.values()) for face in faces], axis=0)).sum()

    assert total_change(smooth) < 0.6 * total_change(plain)
    assert sum(smooth[-1].probabilities.values()) == pytest.approx(1, abs=1e-5)


def test_ids_stay_until_a_face_is_missed_twice(tracker, detector):
    left_box, right_box = (50, 50, 150, 150), (250, 50, 350, 150)
    still = frame_at(50, 50)

    def ids_after_detection():
        ids, *_ = (
            [face.id for face in tracker(still)] for _ in range(tracking._DETECTION_INTERVAL)
        )
        return ids

    detector.boxes = [left_box]
    assert ids_after_detection() == [0]
    detector.boxes = [right_box, left_box]
    assert ids_after_detection() == [0, 1]
    detector.boxes = [right_box]
    assert ids_after_detection() == [0, 1]  # missed once
    detector.boxes = [left_box, right_box]
    assert ids_after_detection() == [0, 1]
    detector.boxes = [right_box]
    ids_after_detection()
    assert ids_after_detection() == [1]  # missed twice
    detector.boxes = [left_box, right_box]
    assert ids_after_detection() == [2, 1]  # a lost face gets a new id
    detector.boxes = []
    ids_after_detection()
    assert ids_after_detection() == []
