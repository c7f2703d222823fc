"""Score any model on labelled pictures: the command `fer val`."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from fer.core.errors import FerError
from fer.core.faces import Faces
from fer.core.files import write_table
from fer.core.params import Prepare, SplitShares
from fer.data import formats
from fer.data.dataset import UNSPLIT, class_key
from fer.data.labels import FILE
from fer.predict.recognizer import Recognizer
from fer.report import figures, scores

_MISTAKES = 35
"""Number of mistakes on the sheet."""

_BINS = 15
"""Number of bins of the calibration error."""


@dataclass(frozen=True)
class Validation:
    """The predictions of a model on labelled faces.

    Attributes:
        name: What was scored, for titles.
        faces: N faces, with the classes of the model.
        sources: The file or line of each face.
        probabilities: float32 [N, C].
    """

    name: str
    faces: Faces
    sources: list[str]
    probabilities: np.ndarray

    def summary(self) -> list[str]:
        """Return lines of text: all scores, and those per class."""
        labels, predicted = self.faces.labels, self.probabilities.argmax(1)
        every = np.ones(len(labels), bool)
        results = scores.scores(self.probabilities, labels, every, _BINS)
        error = np.sqrt(results["accuracy"] * (1 - results["accuracy"]) / len(labels))
        lines = [
            f"{self.name}: {len(labels)} faces",
            f"accuracy {results['accuracy']:.2%}, standard error {error:.2%}",
            f"balanced accuracy {results['balanced_accuracy']:.2%}, macro F1 "
            f"{results['macro_f1']:.3f}, calibration error {results['calibration_error']:.3f}",
        ]
        table = pd.DataFrame(scores.per_class(predicted, labels, self.faces.classes))
        table[["precision", "recall"]] *= 100
        table = table.rename(
            columns={"precision": "precision (%)", "recall": "recall (%)", "support": "faces"}
        )
        return [*lines, table.to_string(index=False, float_format="{:.2f}".format)]

    def write(self, folder: Path) -> None:
        """Write confusion.png, mistakes.png (the surest ones) and predictions.csv.

        Args:
            folder: The folder; its files of these names are replaced.

        Raises:
            FerError: If a file cannot be written.
        """
        labels, predicted = self.faces.labels, self.probabilities.argmax(1)
        classes = self.faces.classes
        pairs = scores.confusions(predicted, labels, classes)
        figures.confusion(folder / "confusion.png", pd.DataFrame(pairs), classes, self.name)
        confidence = self.probabilities.max(1)
        wrong = np.flatnonzero(predicted != labels)
        worst = wrong[np.argsort(-confidence[wrong], kind="stable")][:_MISTAKES]
        (folder / "mistakes.png").unlink(missing_ok=True)
        if len(worst):
            captions = [
                f"{classes[predicted[i]]} {confidence[i]:.0%}\nnot {classes[labels[i]]}"
                for i in worst
            ]
            title = f"{self.name}: the surest of {len(wrong)} mistakes"
            figures.mistakes(folder / "mistakes.png", self.faces.images[worst], captions, title)
        columns = ("picture", "class", "prediction", *classes)
        rows = (
            (source, pair["actual"], pair["predicted"], *(round(float(v), 4) for v in values))
            for source, pair, values in zip(self.sources, pairs, self.probabilities, strict=True)
        )
        write_table(folder / "predictions.csv", columns, rows)


def validate(
    recognizer: Recognizer, path: Path, split: str | None = None, detect: bool = False
) -> Validation:
    """Predict labelled faces.

    Args:
        recognizer: The recognizer.
        path: A folder or a file, in any layout of docs/datasets.md.
        split: "train", "val" or "test"; by default "test" where there is one, else all faces.
        detect: Whether to find the largest face in each picture; otherwise it is one face already.

    Raises:
        FerError: If the path holds no labelled faces, has no such split, or has a class that the
            model does not know.
    """
    if not path.exists():
        raise FerError(f"{path}: no such file or folder; check the name")
    data = formats.read_labelled(path, _reading("detect" if detect else "crop"))
    if data.dropped:
        print(f"left out: {data.reasons()}", flush=True)
    has_splits = UNSPLIT not in data.splits
    if split is None:
        splits = ["test"] if "test" in data.splits else list(data.splits)
    elif split in data.splits:
        splits = [split]
    elif not has_splits:
        raise FerError(f"{path}: has no splits; leave out --split")
    else:
        raise FerError(f"{path}: has no split {split}, only {', '.join(data.splits)}; name another")
    images = np.concatenate([data.splits[name].images for name in splits])
    labels = np.concatenate([data.splits[name].labels for name in splits])
    sources = [source for name in splits for source in data.sources[name]]
    if not len(images):
        raise FerError(f"{path}: no face is left; name another folder")
    indices = _indices(data.classes, recognizer, path)
    faces = Faces(images, indices[labels], tuple(recognizer.classes))
    name = f"{path.name}, {' and '.join(splits)}" if has_splits else path.name
    title = f"{name}: {recognizer.path.name}"
    return Validation(title, faces, sources, recognizer.classify(images))


def _indices(classes: tuple[str, ...], recognizer: Recognizer, path: Path) -> np.ndarray:
    """Return the index among the model's classes of each class, uint8.

    Case and blanks do not count.
    """
    known = {class_key(name): index for index, name in enumerate(recognizer.classes)}
    unknown = [name for name in classes if class_key(name) not in known]
    if all(name.isdigit() for name in unknown) and len(unknown) == len(classes):
        raise FerError(
            f"{path}: the classes are numbers; name them in a file {FILE} there, as "
            f"docs/datasets.md says, among {', '.join(recognizer.classes)}"
        )
    if unknown:
        raise FerError(
            f"{path}: the model knows no {', '.join(unknown[:5])}, only "
            f"{', '.join(recognizer.classes)}; rename the classes, or give another --model"
        )
    return np.array([known[class_key(name)] for name in classes], np.uint8)


def _reading(face: str) -> Prepare:
    """Return how to read the faces: all that can be read."""
    return Prepare.model_validate(
        {
            **{"on_error": "skip", "face": face, "votes": "majority", "drop_blank": False},
            **{"split": SplitShares(val=0.1, test=0.1), "drop_leaks": False, "balance": "none"},
            **{"cap": {}, "seed": 0},
        }
    )
