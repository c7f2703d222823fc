"""Measure the speed and the steadiness of predictions in a video, with and without tracking.

python -m scripts.video prints the table of docs/detection.md: 100 frames of 1280 x 720 pixels, in
which two portraits from matplotlib move.
"""

import tempfile
import time
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image

from fer import Recognizer
from fer.predict.tracking import Tracker
from fer.predict.video import Video, writer

PHOTO = Path(matplotlib.get_data_path(), "sample_data", "grace_hopper.jpg")
FRAMES, SIZE = 100, (1280, 720)


def main() -> None:
    recognizer = Recognizer()
    recognizer.predict(PHOTO)  # loads the detector
    predictors = {"each frame by itself": recognizer.predict, "tracked": Tracker(recognizer)}
    print(
        "| | frames per second | processor ms per frame | faces per frame "
        "| deviation from the path (pixels) |"
    )
    print("| --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        path = make_video(Path(folder) / "made.mp4")
        for name, predict in predictors.items():
            start, cpu_start = time.perf_counter(), time.process_time()
            faces = [predict(frame) for _, frame in Video(path)]
            rate = FRAMES / (time.perf_counter() - start)
            cpu_ms = 1000 * (time.process_time() - cpu_start) / FRAMES
            number = np.mean([len(frame_faces) for frame_faces in faces])
            print(f"| {name} | {rate:.1f} | {cpu_ms:.0f} | {number:.2f} | {deviation(faces):.1f} |")


def make_video(path: Path) -> Path:
    portrait = Image.open(PHOTO).convert("RGB").resize((384, 450))
    with writer(path, 25.0) as file:
        for number in range(FRAMES):
            frame = Image.new("RGB", SIZE, (90, 100, 110))
            frame.paste(portrait, (20 + 3 * number, 60 + number))
            frame.paste(portrait, (860 - number, 200 - number))
            file.write(frame)
    return path


def deviation(faces: list) -> float:
    """Return the standard deviation of the left face's position from a straight path, in pixels."""
    lefts = np.array([frame_faces[0].box[0] for frame_faces in faces if frame_faces], float)
    frames = np.arange(len(lefts))
    return float(np.std(lefts - np.polyval(np.polyfit(frames, lefts, 1), frames)))


if __name__ == "__main__":
    main()
