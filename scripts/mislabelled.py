"""Compare the labels of FER2013 that look wrong with FER+'s votes, and train without them.

    python -m scripts.mislabelled votes data/raw/ferplus/fer2013new.csv    # seconds
    python -m scripts.mislabelled folds data/raw/ferplus/fer2013new.csv    # 15 trainings of a final
    python -m scripts.mislabelled test data/raw/ferplus/fer2013new.csv     # 3 full trainings

They need stage `tune` of FER2013, which writes data/fer2013/nano/suspects.csv, and print a table in
Markdown. Read `test` once, after `folds`. A stopped training resumes.
"""

import argparse
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from fer.core import faces, files, params
from fer.core.errors import FerError, exit_on_error
from fer.data.formats import ferplus
from fer.data.raw import open_raw
from fer.training import model_file, wandb_log, workflow
from fer.training.device import pick_device
from fer.training.evaluation import predict_probabilities
from fer.training.run import TrainingRun
from fer.tuning import finals
from fer.tuning.search import SearchTask

DATASET = "fer2013"
DATA = Path("data", DATASET)

FERPLUS = {
    **{"Angry": "anger", "Disgust": "disgust", "Fear": "fear", "Happy": "happiness"},
    **{"Sad": "sadness", "Surprise": "surprise", "Neutral": "neutral"},
}
"""FER+'s names of the classes."""

Row = tuple[object, ...]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("command", choices=["votes", "folds", "test"])
    parser.add_argument("votes", type=Path, help="FER+'s file of votes")
    parser.add_argument("--counts", type=int, nargs="+", help="numbers of suspects")
    arguments = parser.parse_args()
    command = {"votes": compare_votes, "folds": run_folds, "test": run_test}[arguments.command]
    default = [500, 1000, 2000] if command is compare_votes else [0, 1000, 2000]
    majorities = read_majorities(arguments.votes)
    for row in command(arguments.counts or default, majorities):
        print(f"| {' | '.join(map(str, row))} |", flush=True)


def compare_votes(counts: list[int], majorities: dict[int, str]) -> Iterable[Row]:
    """Yield how often the votes' majority is another class, and how often the suggested one."""
    train, pictures = read_pictures("train")
    suspects = files.read_rows(DATA / "nano/suspects.csv")
    of_picture = {row["picture"]: majorities.get(line(row["picture"]), "") for row in pictures}
    yield "training faces", "majority is another class (%)", "majority is the suggested class (%)"
    yield ("---",) * 3
    others = [is_other(of_picture[row["picture"]], row["class"]) for row in pictures]
    yield f"all {len(train):,}", percent(others), ""
    for count in counts:
        first = suspects[:count]
        others = [is_other(of_picture[row["picture"]], row["class"]) for row in first]
        suggested = [of_picture[row["picture"]] == FERPLUS[row["suggested"]] for row in first]
        yield f"first {len(first):,} suspects", percent(others), percent(suggested)


def run_folds(counts: list[int], majorities: dict[int, str]) -> Iterable[Row]:
    """Cross-validate the baseline without the first suspects among the faces that it learns from.

    All faces are scored, by their label and by the votes' majority where there is one.
    """
    p, device = load_params()
    splits, (_, pictures) = workflow.load(DATA), read_pictures("train")
    ranks = suspect_ranks(pictures)
    names = np.array([majorities.get(line(row["picture"]), "") for row in pictures])
    epochs = p.tune.epochs_for(p.train.epochs_for(len(splits.train)), len(splits.train))[1]
    task = SearchTask(p.config, p.tune, splits.train, splits.val_unseen, device, damage=p.damage)
    different, folds = finals.split_folds(splits.train, p.tune.folds, p.tune.seed)
    track = partial(wandb_log.run, "disabled")
    yield "left out of training", "held-out faces, label (%)", "held-out faces, votes (%)"
    yield ("---",) * 3
    for count in counts:
        predicted = np.zeros(len(splits.train), int)
        for fold in range(folds.max() + 1):
            held_out = folds[different] == fold
            rows = ~held_out & (ranks >= count)
            seed = {"train.seed": (p.train.seed + fold) % 2**32}
            run = replace(task, train=splits.train[rows]).training(seed, epochs)
            network, _ = workflow.train(track, f"without-{count}-{fold}", run, quiet=True)
            outputs = predict_probabilities(network, splits.train.images[held_out])
            predicted[held_out] = outputs.argmax(1)
        yield count, *accuracies(predicted, splits.train, names)


def run_test(counts: list[int], majorities: dict[int, str]) -> Iterable[Row]:
    """Train the baseline in full without the first suspects, and score it on val and test."""
    p, device = load_params()
    splits, (_, pictures) = workflow.load(DATA), read_pictures("train")
    test, test_pictures = read_pictures("test")
    names = np.array([majorities.get(line(row["picture"]), "") for row in test_pictures])
    ranks, teacher = suspect_ranks(pictures), model_file.load_teacher(p.train.distill, test.classes)
    epochs, track = p.train.epochs_for(len(splits.train)), partial(wandb_log.run, "disabled")
    yield "left out of training", "val (%)", "test, label (%)", "test, votes (%)"
    yield ("---",) * 4
    for count in counts:
        train = splits.train[ranks >= count]
        options = {"teacher": teacher, "damage": p.damage}
        run = TrainingRun(p.config, train, splits.val_unseen, epochs, device, **options)
        network, _ = workflow.train(track, f"without-{count}", run)
        kept = replace(splits, train=train)
        network, scores = workflow.finetune_and_score(network, p.train, kept, p.damage)
        views = (test.images, test.images[..., ::-1].copy())
        outputs = sum(predict_probabilities(network, view) for view in views)
        val = f"{100 * scores['val_unseen_accuracy']:.2f}"
        yield count, val, *accuracies(outputs.argmax(1), test, names)


def load_params() -> tuple:
    p = params.load()
    if p.dataset != DATASET:
        raise FerError(f"params.yaml: dataset is {p.dataset}; set it to {DATASET} meanwhile")
    return p, pick_device(p.settings.device)


def read_pictures(split: str) -> tuple[faces.Faces, list[dict[str, str]]]:
    return faces.load(DATA / split), files.read_rows(DATA / split / "pictures.csv")


def read_majorities(path: Path) -> dict[int, str]:
    """Return the class of the votes' majority by the line in FER2013's CSV, where there is one."""
    with open_raw(path) as raw:
        _, votes = ferplus.read_votes(raw, path.name)
    labels = [int(ferplus.majority(row).argmax()) for row in votes]
    count = len(ferplus.CLASSES)
    return {n: ferplus.CLASSES[c] for n, c in enumerate(labels, start=2) if c < count}


def suspect_ranks(pictures: list[dict[str, str]]) -> np.ndarray:
    """Return the place of each face among the suspects, from 0; infinity for others."""
    suspects = files.read_rows(DATA / "nano/suspects.csv")
    ranks = {row["picture"]: rank for rank, row in enumerate(suspects)}
    return np.array([ranks.get(row["picture"], np.inf) for row in pictures])


def line(picture: str) -> int:
    return int(picture.rpartition(":")[2])  # fer2013.csv:2 is the first face


def is_other(majority: str, label: str) -> bool:
    return bool(majority) and majority != FERPLUS[label]


def accuracies(predicted: np.ndarray, split: faces.Faces, names: np.ndarray) -> tuple[str, str]:
    """Return the accuracy by label, and by the votes' majority where there is one, in percent."""
    classes = np.array([FERPLUS[name] for name in split.classes])
    by_votes = (classes[predicted] == names)[names != ""]
    return percent(predicted == split.labels), percent(by_votes)


def percent(hits: Iterable[bool]) -> str:
    return f"{100 * np.mean(list(hits)):.2f}"


if __name__ == "__main__":
    exit_on_error(main)
