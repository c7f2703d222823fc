"""Measure the tracking of faces in made videos: speed, ids and steadiness.

    pip download --no-deps matplotlib scikit-image
    pip download --no-deps --no-binary :all: face_recognition
    python -m scripts.video .

reads three portraits from the packages in that folder and prints the table of docs/detection.md.
In each of ten clips of 20 seconds, three faces move on curves through 1280 x 720 pixels and cross
each other. Each one turns away for a second, and is blurred in ten single frames.
"""

import argparse
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from fer import Recognizer
from fer.errors import FerError, exit_on_error
from fer.predict.detection import Detector
from fer.predict.tracking import Tracker
from scripts.detection import pictures

PORTRAITS = ("astronaut.png", "grace_hopper.jpg", "obama.jpg")
SIDE, MARGIN = 130, 0.35
"""Side of a face in pixels, and how much of the picture around it is shown, in sides."""

CLIPS, SECONDS, RATE, SIZE = 10, 20, 25, (1280, 720)
STRANGERS = 200
COVERED = 0.35
"""Share of a face from which another one in front of it hides it."""


@dataclass
class Result:
    """What was measured in a clip."""

    ms: float
    seen: int
    tracked: int
    changes: int
    deviation: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    portraits = load_portraits(parser.parse_args().folder)
    recognizer = Recognizer(threads=1)
    print("| | processor ms per frame | faces found (%) | changes of an id | deviation (pixels) |")
    print("| --- | --- | --- | --- | --- |")
    for name in ("each frame by itself", "tracked"):
        results = []
        for seed in range(CLIPS):
            predict = Tracker(recognizer) if name == "tracked" else recognizer.predict
            results.append(measure(predict, make_clip(portraits, seed)))
        changes = sum(result.changes for result in results) if name == "tracked" else "-"
        found = sum(result.tracked for result in results) / sum(r.seen for r in results)
        ms, deviation = (np.mean([getattr(r, key) for r in results]) for key in ("ms", "deviation"))
        print(f"| {name} | {ms:.0f} | {100 * found:.2f} | {changes} | {deviation:.1f} |")
    print(f"\nIds that went to another person: {100 * mistaken_ids(recognizer, portraits):.0f} %")


def load_portraits(folder: Path) -> list[Image.Image]:
    """Return the face of each portrait, with its surroundings."""
    faces = {}
    for _, name, pixels in pictures(folder):
        if name in PORTRAITS and name not in faces:
            left, top, right, _ = max(Detector()(pixels), key=lambda box: box[2] - box[0])
            side = right - left
            margin = round(MARGIN * side)
            box = (left - margin, top - margin, right + margin, top + side + margin)
            length = round((1 + 2 * MARGIN) * SIDE)
            faces[name] = Image.fromarray(pixels).crop(box).resize((length, length))
    if len(faces) < len(PORTRAITS):
        missing = ", ".join(set(PORTRAITS) - set(faces))
        raise FerError(f"{folder}: {missing} not found; download the packages as the script says")
    return [faces[name] for name in PORTRAITS]


def make_clip(
    portraits: list[Image.Image], seed: int
) -> Iterator[tuple[Image.Image, dict[int, np.ndarray]]]:
    """Yield frames, and the center of each face that can be seen in it."""
    random = np.random.default_rng(seed)
    frames = SECONDS * RATE
    paths = np.array([curve(random) for _ in portraits])
    away, blurred = np.zeros((2, len(portraits), frames), bool)
    for number in range(len(portraits)):
        start = random.integers(3 * RATE, frames - 4 * RATE)
        away[number, start : start + RATE] = True
        blurred[number, random.choice(frames, 10, replace=False)] = True
    order = random.permutation(len(portraits))
    for frame in range(frames):
        noise = random.integers(96, 108, SIZE[::-1], np.uint8)
        image = Image.fromarray(noise)
        visible: dict[int, np.ndarray] = {}
        for number in (n for n in order if not away[n, frame]):
            center = paths[number, frame]
            visible = {n: other for n, other in visible.items() if not covers(center, other)}
            portrait = portraits[number]
            if blurred[number, frame]:
                portrait = portrait.resize((4, 4)).resize(portrait.size)
            else:
                visible[number] = center
            image.paste(portrait, tuple(np.rint(center - portrait.width / 2).astype(int)))
        yield image.convert("RGB"), visible


def curve(random: np.random.Generator) -> np.ndarray:
    """Return positions in pixels over time, float [frames, 2]."""
    seconds = np.arange(SECONDS * RATE) / RATE
    periods, phases = random.uniform((5, 4), (10, 8)), random.uniform(0, 2 * np.pi, 2)
    amplitudes = random.uniform((250, 10), (450, 60))
    middle = np.array(SIZE) / 2 + (0, random.uniform(-30, 30))
    return middle + amplitudes * np.sin(2 * np.pi * seconds[:, None] / periods + phases)


def covers(front: np.ndarray, back: np.ndarray) -> bool:
    shares = np.clip(1 - np.abs(front - back) / (SIDE * (1 + 2 * MARGIN)), 0, None)
    return shares.prod() > COVERED


def measure(predict, clip) -> Result:
    ms, seen, changes = 0.0, 0, 0
    ids: dict[int, int | None] = {}
    offsets = defaultdict(list)
    for image, visible in clip:
        start = time.process_time()
        faces = predict(image)
        ms += 1000 * (time.process_time() - start)
        seen += len(visible)
        centers = {face.id if face.id is not None else number: center_of(face.box)
                   for number, face in enumerate(faces)}  # fmt: skip
        for number, center in visible.items():
            found = min(centers, key=lambda key: np.hypot(*(centers[key] - center)), default=None)
            if found is None or np.hypot(*(centers[found] - center)) > 0.4 * SIDE:
                continue
            changes += ids.get(number, found) != found
            ids[number] = found
            offsets[number].append(centers.pop(found) - center)
    tracked = sum(map(len, offsets.values()))
    deviation = np.concatenate([np.array(o) - np.mean(o, 0) for o in offsets.values()])
    rms = float(np.sqrt((deviation**2).sum(1).mean()))
    return Result(ms / (SECONDS * RATE), seen, tracked, changes, rms)


def mistaken_ids(recognizer: Recognizer, portraits: list[Image.Image]) -> float:
    """Return how often a person gets the id of another one, who left elsewhere a second before."""
    random = np.random.default_rng(0)
    mistakes = 0
    for _ in range(STRANGERS):
        tracker = Tracker(recognizer)
        first, second = random.choice(len(portraits), 2, replace=False)
        for number, seconds in ((first, 0.0), (first, 0.04), (second, 1.04)):
            image = Image.new("RGB", SIZE, (100, 100, 100))
            if number == second or seconds == 0.0:
                position = tuple(random.integers((0, 0), np.array(SIZE) - portraits[0].width))
            image.paste(portraits[number], position)
            faces = tracker(image, seconds)
        mistakes += [face.id for face in faces] == [0]
    return mistakes / STRANGERS


def center_of(box) -> np.ndarray:
    left, top, right, bottom = box
    return np.array([left + right, top + bottom]) / 2


if __name__ == "__main__":
    exit_on_error(main)
