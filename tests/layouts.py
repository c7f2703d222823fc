"""Parameters of the project, and small data sets of drawn faces in the layouts of the field."""

import zipfile
from itertools import cycle, product
from pathlib import Path

import numpy as np
from PIL import Image

from fer.core import params
from fer.data.fer2013 import USAGES
from fer.data.formats import ferplus as votes
from fer.data.sample import ACTION_UNITS, draw

ROOT = Path(__file__).parents[1]
PARAMS = params.load(ROOT / "params.yaml")
EMOTIONS = tuple(ACTION_UNITS)


def picture(path, emotion, generator, side=48, mode="L"):
    """Write a drawn face."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(draw(emotion, generator)).convert(mode)
    image.resize((side, side)).save(path)


def two_classes(folder):
    """Folders of two classes, without splits, of pictures of several sizes and modes."""
    generator = np.random.default_rng(0)
    for number in range(20):
        for name, emotion in (("happy", "Happy"), ("sad", "Sad")):
            side, mode = ((48, "L"), (60, "RGB"), (48, "RGBA"))[number % 3]
            picture(folder / name / f"{number}.png", emotion, generator, side, mode)
    (folder / "happy" / "._0.png").write_bytes(b"of a Mac")
    (folder / "Thumbs.db").write_bytes(b"of Windows")


def nine_classes(folder):
    """A zip of nine classes whose names are not all of ASCII, with train and test."""
    names = ("freude", "ärger", "глад", "страх", "悲しみ", "驚き", "neutre", "mépris", "$x_1$")
    generator = np.random.default_rng(1)
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / "faces", "w") as archive:
        for split, number in product(("train", "test"), range(8)):
            for emotion, name in zip(cycle(EMOTIONS), names):
                with archive.open(f"some/where/{split}/{name}/{number}.png", "w") as file:
                    Image.fromarray(draw(emotion, generator)).save(file, "png")


def rafdb(folder):
    """RAF-DB as its authors give it."""
    order = ("Surprise", "Fear", "Disgust", "Happy", "Sad", "Angry", "Neutral")
    generator = np.random.default_rng(2)
    lines = []
    for split, count in (("train", 42), ("test", 14)):
        for number in range(count):
            stem, label = f"{split}_{number:05d}", number % 7
            aligned = folder / "Image/aligned" / f"{stem}_aligned.jpg"
            picture(aligned, order[label], generator, 100, "RGB")
            lines.append(f"{stem}.jpg {label + 1}\n")
    listed = folder / "EmoLabel/list_patition_label.txt"
    listed.parent.mkdir(parents=True)
    listed.write_text("".join(lines))


def kaggle_rows(count, generator):
    """Rows of a CSV in Kaggle's format, without the header: `count` of each class and split."""
    return [
        f"{label},{' '.join(map(str, draw(emotion, generator).ravel()))},{usage}"
        for usage in USAGES
        for label, emotion in enumerate(EMOTIONS)
        for _ in range(count)
    ]


def ferplus(folder):
    """FER2013's CSV and Microsoft's votes."""
    rows = kaggle_rows(4, np.random.default_rng(3))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "fer2013.csv").write_text("\n".join(["emotion,pixels,Usage", *rows, ""]))
    columns = (*votes.CLASSES, "unknown", "NF")
    lines = [f"Usage,Image name,{','.join(columns)}"]
    for number, row in enumerate(rows):
        counts = dict.fromkeys(columns, 0)
        counts[columns[number % 8]], counts[columns[(number + 1) % 8]] = 7, 3
        if number % 20 == 19:  # no face
            counts = dict.fromkeys(columns, 0) | {"NF": 10}
        usage = row.rpartition(",")[2]
        lines.append(f"{usage},fer{number:07d}.png,{','.join(map(str, counts.values()))}")
    (folder / "fer2013new.csv").write_text("\n".join([*lines, ""]))


def contents(folder):
    """Content and time of each file in a folder."""
    paths = [path for path in sorted(Path(folder).rglob("*")) if path.is_file()]
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in paths}


def mislabelled(folder, count, share):
    """Folders of splits of three classes, a share of the training pictures in a wrong one.

    Return the right class of each of these by its name in the data set.
    """
    generator = np.random.default_rng(4)
    names, wrong = ("Happy", "Sad", "Surprise"), {}
    for split, number in (("train", count), ("test", count // 3)):
        for i in range(number):
            label = shown = names[i % 3]
            if split == "train" and i < share * count:
                shown = names[(i + 1 + i // 3 % 2) % 3]
                wrong[f"train/{shown}/{i}.png"] = label
            picture(folder / split / shown / f"{i}.png", label, generator)
    return wrong
