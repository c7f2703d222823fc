"""The command `fer val`: score a model on labelled pictures."""

import argparse
from pathlib import Path

import numpy as np

from fer.cli.options import Commands, add_model_options, load_recognizer, path_argument
from fer.cli.outputs import protect_inputs
from fer.core.errors import FerError
from fer.core.faces import Faces
from fer.core.files import write_table

# Modules that need the extra `train` are imported in functions, because predicting does not.

_OUTPUTS = ("confusion.png", "predictions.csv")


def add_to(commands: Commands) -> None:
    """Add this command to the command line."""
    val = commands.add_parser("val", help="score a model on labelled pictures")
    val.add_argument(
        "pictures", type=path_argument, help="a folder or a file, as docs/datasets.md describes"
    )
    val.add_argument(
        "--split", help="train, val or test (default: test where there is one, else all faces)"
    )
    val.add_argument(
        "--detect", action="store_true", help="find the largest face in each picture first"
    )
    val.add_argument(
        "--out",
        type=path_argument,
        metavar="FOLDER",
        help="write confusion.png and predictions.csv there",
    )
    add_model_options(val)
    val.set_defaults(run=_val)


def _val(arguments: argparse.Namespace) -> None:
    out, pictures = arguments.out, arguments.pictures
    folder = pictures if pictures.is_dir() else pictures.parent
    is_inside = out and pictures.is_dir() and out.resolve().is_relative_to(folder.resolve())
    if is_inside or (out and out.resolve() == folder.resolve()):
        raise FerError(f"--out {out}: is the folder with the pictures; name another place")
    recognizer = load_recognizer(arguments)
    name, faces, sources = _read(pictures, arguments.split, arguments.detect, recognizer.classes)
    title = f"{name}: {recognizer.path.name}"
    probabilities = recognizer.classify(faces.images)
    if out:
        inputs = [pictures, *(folder / source for source in sources)]
        protect_inputs([out / output for output in _OUTPUTS], inputs)
        _write(out, title, faces, sources, probabilities)
    _print_scores(title, faces, probabilities)
    sure = probabilities.max(1) >= recognizer.min_confidence
    if recognizer.min_confidence and sure.any():
        _print_scores(
            f"{title}: the sure ones, {sure.mean():.0%}", faces[sure], probabilities[sure]
        )


def _read(
    path: Path, split: str | None, detect: bool, classes: list[str]
) -> tuple[str, Faces, list[str]]:
    """Return what was read, for titles; the faces, with a model's classes; and their sources."""
    from fer.core.params import Prepare, SplitShares
    from fer.data import formats
    from fer.data.dataset import UNSPLIT

    if not path.exists():
        raise FerError(f"{path}: no such file or folder; check the name")
    # All that reading uses.
    prepare = Prepare.model_construct(
        on_error="skip",
        face="detect" if detect else "crop",
        votes="majority",
        split=SplitShares.model_construct(),
    )
    data = formats.read_labelled(path, prepare)
    if data.dropped:
        print(f"left out: {data.reasons()}", flush=True)
    if split and split not in data.splits:
        names = ", ".join(data.splits)
        raise FerError(f"{path}: has no split {split}, only {names}; leave out --split")
    splits = [split or "test"] if split or "test" in data.splits else list(data.splits)
    images = np.concatenate([data.splits[name].images for name in splits])
    labels = np.concatenate([data.splits[name].labels for name in splits])
    if not len(images):
        raise FerError(f"{path}: no face is left; name another folder")
    faces = Faces(images, _indices(data.classes, classes, path)[labels], tuple(classes))
    name = path.name if splits == [UNSPLIT] else f"{path.name}, {' and '.join(splits)}"
    return name, faces, [source for name in splits for source in data.sources[name]]


def _indices(names: tuple[str, ...], classes: list[str], path: Path) -> np.ndarray:
    """Return the index among the model's classes of each class, uint8.

    Case and blanks do not count.
    """
    from fer.data.dataset import class_key
    from fer.data.labels import FILE

    index_by_key = {class_key(name): index for index, name in enumerate(classes)}
    unknown = [name for name in names if class_key(name) not in index_by_key]
    if unknown:
        raise FerError(
            f"{path}: the model knows no {', '.join(unknown[:5])}, only {', '.join(classes)}; "
            f"rename the classes (numbers: in a file {FILE}), or give another --model"
        )
    return np.array([index_by_key[class_key(name)] for name in names], np.uint8)


def _print_scores(title: str, faces: Faces, probabilities: np.ndarray) -> None:
    """Print all scores of probabilities, float32 [N, C], and those per class."""
    import pandas as pd

    from fer.report import scores

    labels = faces.labels
    results = scores.scores(probabilities, labels, np.ones(len(labels), bool), bins=15)
    low, high = scores.interval(results["accuracy"], len(labels))
    print(f"{title}: {len(labels)} faces")
    print(f"accuracy {results['accuracy']:.2%}, 95 % interval {low:.1%} to {high:.1%}")
    print(
        f"balanced accuracy {results['balanced_accuracy']:.2%}, macro F1 "
        f"{results['macro_f1']:.3f}, calibration error {results['calibration_error']:.3f}"
    )
    table = pd.DataFrame(scores.per_class(probabilities.argmax(1), labels, faces.classes))
    table[["precision", "recall"]] *= 100
    columns = {"precision": "precision (%)", "recall": "recall (%)", "support": "faces"}
    print(table.rename(columns=columns).to_string(index=False, float_format="{:.2f}".format))


def _write(
    folder: Path, title: str, faces: Faces, sources: list[str], probabilities: np.ndarray
) -> None:
    """Write confusion.png and predictions.csv."""
    import pandas as pd

    from fer.report import figures, scores

    pairs = scores.confusions(probabilities.argmax(1), faces.labels, faces.classes)
    figures.confusion(folder / "confusion.png", pd.DataFrame(pairs), faces.classes, title)
    rows = (
        (source, pair["actual"], pair["predicted"], *(round(float(v), 4) for v in values))
        for source, pair, values in zip(sources, pairs, probabilities, strict=True)
    )
    columns = ("picture", "class", "prediction", *faces.classes)
    write_table(folder / "predictions.csv", columns, rows)
