"""Compare face detectors on pictures from packages: boxes and milliseconds.

    pip install dlib-bin
    pip download --no-deps matplotlib scikit-image
    pip download --no-deps --no-binary :all: face_recognition
    npm pack @vladmandic/face-api
    apt-get download libdlib19.1
    python -m scripts.detection .

reads the pictures from the packages in that folder and prints the table of docs/detection.md. It
compares YuNet with dlib's detector (HOG and SVM; King 2009, JMLR 10:1755-1758).
"""

import argparse
import io
import subprocess
import tarfile
import time
import zipfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from fer.errors import FerError, exit_on_error
from fer.predict import images
from fer.predict.detection import Detector

FOLDERS = {
    "skimage/data/": "scikit-image: things, textures, animals",
    "face_recognition-1.3.0/tests/test_images/": "face_recognition: portraits",
    "package/demo/sample": "@vladmandic/face-api: groups",
    "libdlib19.1/examples/faces/": "dlib: groups",
    "mpl-data/sample_data/": "matplotlib, scikit-image: portraits",
}

FACES = {
    **{f"sample{n}.jpg": faces for n, faces in enumerate((3, 3, 3, 4, 5, 4), 1)},
    **dict.fromkeys(("astronaut.png", "grace_hopper.jpg", "camera.png"), 1),
    **dict.fromkeys(("32bit.png", "biden.jpg", "obama.jpg", "obama2.jpg", "obama3.jpg"), 1),
    **dict.fromkeys(("obama_partial_face.jpg", "obama_partial_face2.jpg"), 1),
    **dict.fromkeys(("2007_007763.jpg", "2008_004176.jpg", "2008_007676.jpg"), 7),
    **dict.fromkeys(("2008_002079.jpg", "2008_002470.jpg"), 6),
    **dict.fromkeys(("2008_001322.jpg", "2008_002506.jpg"), 3),
    **dict.fromkeys(("2008_001009.jpg", "2009_004587.jpg"), 2),
    **{"bald_guys.jpg": 24, "Tom_Cruise_avp_2014_4.jpg": 1},
}
"""Number of human faces by picture, counted by eye; all other pictures have none."""

LARGE = "4000 x 3000"

RUNS = 2
"""Runs per picture; the fastest counts."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    import dlib  # here, because scripts/video.py needs only the pictures

    hog = dlib.get_frontal_face_detector()
    detectors = {
        "dlib": lambda pixels: hog(scale(pixels, 1280), 0),
        "dlib, 320 first": lambda pixels: hog(
            scale(pixels, 640 if hog(scale(pixels, 320), 0) else 1280), 0
        ),
        "YuNet, 448 pixels": Detector(min_face=1_000_000),
        "YuNet": Detector(),
    }
    rows: dict[str, list[list[float]]] = defaultdict(list)
    for group, name, pixels in pictures(folder):
        for title, picture in ((group, pixels), (f"{group}, in {LARGE}", in_large(pixels))):
            measured = [measure(detector, picture) for detector in detectors.values()]
            rows[title].append([FACES.get(name, 0), *(v for pair in measured for v in pair)])
    if not rows:
        raise FerError(f"{folder}: none of the packages is here; download them as the script says")
    columns = ["photos", "number", "faces"]
    columns += [f"{unit}: {name}" for unit in ("boxes", "ms") for name in detectors]
    print(f"| {' | '.join(columns)} |\n|{' --- |' * len(columns)}")
    for group, group_rows in sorted(rows.items()):
        faces, *values = np.array(group_rows).T
        totals = (int(boxes.sum()) for boxes in values[::2])
        counts = [len(group_rows), int(faces.sum()), *totals]
        times = (f"{ms.mean():.1f}" for ms in values[1::2])
        print(f"| {group} | {' | '.join([*map(str, counts), *times])} |")


def in_large(pixels: np.ndarray) -> np.ndarray:
    """Return a grey picture of 4000 x 3000 pixels with the picture in its corner."""
    large = np.full((3000, 4000), 128, np.uint8)
    part = pixels[:3000, :4000]
    large[: part.shape[0], : part.shape[1]] = part
    return large


def scale(pixels: np.ndarray, long_side: int) -> np.ndarray:
    image = Image.fromarray(pixels)
    zoom = min(long_side / max(image.size), 2.0)
    size = (round(image.width * zoom), round(image.height * zoom))
    return np.asarray(image.resize(size, Image.Resampling.BILINEAR, reducing_gap=2))


def measure(detector, pixels: np.ndarray) -> tuple[int, float]:
    """Return the number of boxes, and the ms of processor time, which ignore other programs."""
    times = []
    for _ in range(RUNS):
        start = time.thread_time()
        boxes = detector(pixels)
        times.append(time.thread_time() - start)
    return len(boxes), 1000 * min(times)


def pictures(folder: Path) -> Iterator[tuple[str, str, np.ndarray]]:
    for package in sorted(folder.iterdir()):
        for path, content in files(package):
            group = next(title for part, title in FOLDERS.items() if part in path)
            name = Path(path).name
            if Path(name).suffix not in (".jpg", ".png") or name.startswith("._"):
                continue
            if name in ("astronaut.png", "camera.png", "grace_hopper.jpg"):
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
    elif package.suffix in (".gz", ".tgz", ".deb"):
        content = package.read_bytes()
        if package.suffix == ".deb":
            unpack = ["dpkg-deb", "--fsys-tarfile", package]
            content = subprocess.run(unpack, check=True, stdout=subprocess.PIPE).stdout
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            for member in archive:
                if member.isfile() and any(part in member.name for part in FOLDERS):
                    yield member.name, archive.extractfile(member).read()


if __name__ == "__main__":
    exit_on_error(main)
