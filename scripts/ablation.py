"""Cross-validate the training of `nano` with one part removed at a time, for docs/experiments.md.

    python -m scripts.ablation [--epochs 18] [--folds 5]

FER2013 must be prepared (`dvc repro prepare` with `dataset: fer2013`). Training is without a
teacher. A stopped run resumes. 18 epochs take 2.5 hours on one core with bfloat16.
"""

import argparse
from functools import partial
from pathlib import Path
from typing import Any

from fer import params, tracking
from fer.errors import exit_on_error
from fer.training import runs
from fer.training.device import pick_device
from fer.tuning import finals
from fer.tuning.search import SearchTask
from fer.tuning.space import Space, Trial

PARTS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "rotation, scale and contrast": {
        **{"train.augment.rotation": 0.0, "train.augment.scale": 0.0},
        **{"train.augment.contrast": 0.0},
    },
    "shift": {"train.augment.shift": 0},
    "mirror image": {"train.augment.flip": 0.0},
    "weight decay": {"train.weight_decay": 0.0},
    "one-cycle schedule (cosine instead)": {"train.schedule": "cosine"},
    "small faces first (44 pixels only)": {"train.input_sizes": [44]},
    "network `compact` (`mini-xception` instead)": {"model.name": "mini-xception"},
}
"""What is removed, and the values that remove it."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--epochs", type=int, default=18, help="epochs per fold")
    parser.add_argument("--folds", type=int, default=5)
    arguments = parser.parse_args()
    p, splits = params.load(), runs.load(Path("data/fer2013"))
    device, space = pick_device(p.settings.device), Space(p.config, p.tune)
    task = SearchTask(splits.train, splits.val_unique, p.config, space, device)
    folds = finals.split_folds(splits.train, arguments.folds, p.tune.seed)
    train = partial(
        finals.train,
        task,
        folds=folds,
        epochs=arguments.epochs,
        track=partial(tracking.run, "disabled"),
    )
    trials = [Trial(index, values, None) for index, values in enumerate(PARTS.values())]
    baseline = None
    rows = [
        "| removed | held-out training faces (%) | difference (points) |",
        "| --- | --- | --- |",
    ]
    for name, trial in zip(PARTS, trials, strict=True):
        result = train(trial)
        if result is None:
            rows.append(f"| {name} | diverged | |")
            continue
        baseline = baseline or result
        gain, margin = finals.accuracy_gain(result.correct, baseline.correct, folds)
        difference = "" if result is baseline else f"{100 * gain:+.2f} ± {100 * margin:.2f}"
        rows.append(f"| {name} | {100 * result.correct.mean():.2f} | {difference} |")
        print("\n".join(rows), flush=True)
    for trial in trials:
        for _, fold_task, config in finals.runs(task, trial, folds):
            fold_task.remove_checkpoints([config], arguments.epochs)


if __name__ == "__main__":
    exit_on_error(main)
