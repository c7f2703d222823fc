"""How fast and how steady a video is told: every frame for itself, and followed.

python -m scripts.video prints the table of docs/detection.md, of 100 frames of 1280 x 720 pixels
through which two portraits of matplotlib's move.
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
    ways = {"each frame for itself": recognizer.predict, "followed": Tracker(recognizer)}
    print("| | frames a second | processor ms a frame | faces in a frame | pixels off the path |")
    print("| --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        path = make(Path(folder) / "made.mp4")
        for name, way in ways.items():
            start, work = time.perf_counter(), time.process_time()
            faces = [way(frame) for _, frame in Video(path)]
            rate = FRAMES / (time.perf_counter() - start)
            work = 1000 * (time.process_time() - work) / FRAMES
            number = np.mean([len(found) for found in faces])
            print(f"| {name} | {rate:.1f} | {work:.0f} | {number:.2f} | {off(faces):.1f} |")


def make(path: Path) -> Path:
    portrait = Image.open(PHOTO).convert("RGB").resize((384, 450))
    with writer(path, 25.0) as file:
        for number in range(FRAMES):
            frame = Image.new("RGB", SIZE, (90, 100, 110))
            frame.paste(portrait, (20 + 3 * number, 60 + number))
            frame.paste(portrait, (860 - number, 200 - number))
            file.write(frame)
    return path


def off(faces: list) -> float:
    """Standard deviation of the left face's place from the straight path, in pixels."""
    lefts = np.array([found[0].box[0] for found in faces if found], float)
    frames = np.arange(len(lefts))
    return float(np.std(lefts - np.polyval(np.polyfit(frames, lefts, 1), frames)))


if __name__ == "__main__":
    main()
