"""What the face detector finds in pictures that come in packages, and how long it takes.

    pip download --no-deps matplotlib scikit-image
    pip download --no-deps --no-binary :all: face_recognition
    npm pack @vladmandic/face-api
    python -m scripts.detection .

reads the pictures out of the packages in that folder and prints the table of docs/detection.md.
"""

import sys
import tarfile
import time
import zipfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from fer.errors import FerError, exit_on_error
from fer.predict import images
from fer.predict.detection import _FULL, Detector

FOLDERS = {
    "skimage/data/": "scikit-image: things, textures, animals",
    "face_recognition-1.3.0/tests/test_images/": "face_recognition: portraits",
    "package/demo/sample": "@vladmandic/face-api: groups",
    "mpl-data/sample_data/": "matplotlib, scikit-image: portraits",
}

FACES = {
    **{f"sample{n}.jpg": faces for n, faces in enumerate((3, 3, 3, 4, 5, 4), 1)},
    **dict.fromkeys(("astronaut.png", "grace_hopper.jpg"), 1),
    **dict.fromkeys(("32bit.png", "biden.jpg", "obama.jpg", "obama2.jpg", "obama3.jpg"), 1),
    **dict.fromkeys(("obama_partial_face.jpg", "obama_partial_face2.jpg"), 1),
}
"""Counted by eye; in all other pictures there is none from the front."""

RUNS = 2
"""Runs of each picture, of which the fastest counts."""


def main() -> None:
    detector = Detector()
    detector(np.zeros((100, 100), np.uint8))  # loads it
    ways = {"all in full": lambda pixels: detector._boxes(pixels, _FULL), "now": detector}
    rows: dict[str, list[list[float]]] = defaultdict(list)
    for group, name, pixels in pictures(Path(sys.argv[1])):
        found = [measure(way, pixels) for way in ways.values()]
        rows[group].append([FACES.get(name, 0), *(value for pair in found for value in pair)])
    if not rows:
        raise FerError(f"{sys.argv[1]}: none of the packages is here")
    print("| pictures | | faces | boxes, all in full | boxes, now | ms, all in full | ms, now |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for group, of in sorted(rows.items()):
        faces, full, ms_full, now, ms_now = np.array(of).T
        counts = (len(of), int(faces.sum()), int(full.sum()), int(now.sum()))
        times = (f"{ms.mean():.0f}" for ms in (ms_full, ms_now))
        print(f"| {group} | {' | '.join([*map(str, counts), *times])} |")


def measure(way, pixels: np.ndarray) -> tuple[int, float]:
    """Number of boxes, and milliseconds of processor time, which other programs do not lengthen."""
    times = []
    for _ in range(RUNS):
        start = time.thread_time()
        found = way(pixels)
        times.append(time.thread_time() - start)
    return len(found), 1000 * min(times)


def pictures(folder: Path) -> Iterator[tuple[str, str, np.ndarray]]:
    for package in sorted(folder.iterdir()):
        for path, content in files(package):
            group = next(title for part, title in FOLDERS.items() if part in path)
            name = Path(path).name
            if Path(name).suffix not in (".jpg", ".png") or name.startswith("._"):
                continue
            if name in ("astronaut.png", "grace_hopper.jpg"):
                group = FOLDERS["mpl-data/sample_data/"]
            elif "sample_data" in path:
                continue
            yield group, name, images.grey(images.load(content))


def files(package: Path) -> Iterator[tuple[str, bytes]]:
    if package.suffix == ".whl":
        with zipfile.ZipFile(package) as archive:
            for name in archive.namelist():
                if any(part in name for part in FOLDERS):
                    yield name, archive.read(name)
    elif package.suffix in (".gz", ".tgz"):
        with tarfile.open(package) as archive:
            for member in archive:
                if member.isfile() and any(part in member.name for part in FOLDERS):
                    yield member.name, archive.extractfile(member).read()


if __name__ == "__main__":
    exit_on_error(main)
