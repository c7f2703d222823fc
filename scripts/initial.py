"""Measure what initial weights gain on small data sets: `python -m scripts.initial`.

The script takes subsets of FER2013 with 50 and 200 training faces per class, of all classes and of
four of them. It trains each with three seeds: from random weights, from those of the sample, and
for four classes from weights of the three others. It needs `dvc repro` of the sample, and of stage
prepare of FER2013, and prints the table of docs/experiments.md. Accuracy is on val without
duplicates; epochs are selected on training faces outside the subset. Finished trainings are kept in
.checkpoints, so that a second call resumes.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch

from fer import params, tracking
from fer.errors import exit_on_error
from fer.faces import Faces
from fer.params import TrainingConfig
from fer.training import initial, runs
from fer.training.device import pick_device
from fer.training.evaluation import predict_logits
from fer.training.fit import checkpoint_path

SEEDS = (0, 1, 2)
FOUR = ("Happy", "Sad", "Surprise", "Neutral")
OTHERS = ("Angry", "Disgust", "Fear")
OTHERS_EPOCHS = 40


def main() -> None:
    p = params.load()
    device = pick_device(p.settings.device)
    splits = runs.load(Path("data", "fer2013"))
    train = partial(_train, p, device)
    others = train(
        "others", p.config, _of(splits.train, OTHERS), _of(splits.val_unique, OTHERS), None
    )
    print("| classes | training faces per class | weights to start from | accuracy (%) |")
    print("| --- | --- | --- | --- |")
    for classes in (splits.train.classes, FOUR):
        test = _of(splits.val_unique, classes)
        sample = initial.load(p.config.with_values({"train.init": "models/sample"}), classes)
        starts = {"random": None, "the sample": sample}
        if classes == FOUR:
            body = {name: others.state_dict()[name] for name in sample}
            starts["three other classes"] = body
        for count in (50, 200):
            for name, start in starts.items():
                accuracies = []
                for seed in SEEDS:
                    own, val = _cut(_of(splits.train, classes), count, seed)
                    config = p.config.with_values({"train.seed": seed})
                    network = train(f"{name}-{count}-{seed}", config, own, val, start)
                    output = predict_logits(network, torch.tensor(test.images)).argmax(1).numpy()
                    accuracies.append(100 * float((output == test.labels).mean()))
                mean, spread = np.mean(accuracies), np.std(accuracies, ddof=1)
                row = f"| {len(classes)} | {count} | {name} | {mean:.1f} ± {spread:.1f} |"
                print(row, flush=True)


def _train(
    p: params.Params,
    device: torch.device,
    name: str,
    config: TrainingConfig,
    train: Faces,
    val: Faces,
    start: initial.Weights | None,
) -> torch.nn.Module:
    """A network trained by the budget that a data set of this size has by default."""
    epochs = OTHERS_EPOCHS if name == "others" else p.budget["default"].resolve(len(train)).epochs
    track = partial(tracking.run, p.settings.wandb)
    fit_arguments = (config, train, val, epochs)
    state = checkpoint_path(*fit_arguments, init=start)
    network, _ = runs.train(
        track, f"initial-{name}", *fit_arguments, device, checkpoint=state, init=start, quiet=True
    )
    return network.cpu()


def _of(split: Faces, classes: Sequence[str]) -> Faces:
    """The faces of some classes."""
    labels = np.array([split.classes.index(name) for name in classes])
    own = split[np.isin(split.labels, labels)]
    numbers = np.zeros(len(split.classes), np.uint8)
    numbers[labels] = np.arange(len(labels))
    return Faces(own.images, numbers[own.labels], tuple(classes))


def _cut(split: Faces, count: int, seed: int) -> tuple[Faces, Faces]:
    """So many faces of each class to train on, and a quarter as many others to pick the epoch."""
    generator = np.random.default_rng(seed)
    rows = [
        generator.permutation(np.flatnonzero(split.labels == label))
        for label in range(len(split.classes))
    ]
    train = np.sort(np.concatenate([own[:count] for own in rows]))
    val = np.sort(np.concatenate([own[count : count + count // 4] for own in rows]))
    return split[train], split[val]


if __name__ == "__main__":
    exit_on_error(main)
