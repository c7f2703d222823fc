"""Search from the recipe of params.yaml, train the winner in full, and say what was gained."""

import json
from functools import partial
from pathlib import Path
from statistics import median

import torch
from optuna.trial import TrialState

from fer import faces, files, model, params, plots, tracking, training, tuning
from fer.device import pick_device
from fer.errors import exit_on_error
from fer.evaluation import logits, loss_and_accuracy
from fer.faces import Faces
from fer.timing import machine


def main() -> None:
    p = params.load()
    data, models, plot_dir = (Path(top, p.dataset) for top in ("data", "models", "plots"))
    train, val = faces.load(data / "train"), faces.load(data / "val")
    baseline, about = model.load(models / "baseline.pt")
    trained = json.loads(Path("metrics", p.dataset, "train.json").read_text(encoding="utf-8"))

    task = tuning.Task(train, val, p.model.width, p.train, p.tune, p.search.epochs)
    study = tuning.open_study(task, p.dataset)
    track = partial(tracking.run, p.tracking.wandb, group=study.study_name)
    tuning.search(study, task, p.search, track)
    winner = study.best_trial
    values = task.values(winner)

    checkpoint = models / "tuned.ckpt"
    if values == task.start():
        print("no trial was better than the recipe of params.yaml: it stays", flush=True)
        tuned, scores = baseline, about["scores"]
        seconds = trained["seconds_per_epoch"]["total"]
    else:
        print(f"trial {winner.number} won, and trains for {p.epochs} epochs", flush=True)
        recipe = p.train.changed(values)
        with track(f"tuned-{p.dataset}", values) as log:
            tuned, history = training.fit(
                p.model.width,
                train,
                val,
                recipe,
                p.epochs,
                on_epoch=lambda history: log(history[-1]),
                checkpoint=checkpoint,
            )
        best = training.best_epoch(history)
        scores = {k: best[k] for k in ("epoch", "val_accuracy", "val_loss")}
        seconds = seconds_per_epoch(history)
    model.save(models / "tuned.pt", tuned, dataset=p.dataset, scores=scores)

    rows = tuning.table(study, task)
    shares = tuning.importance(study, task)
    seconds_before = trained["seconds_per_epoch"]["total"]
    metrics = {
        "dataset": p.dataset,
        "faces": {"train": len(train), "val": len(val)},
        "trials": {
            "completed": tuning.count(study, TrialState.COMPLETE),
            "pruned": tuning.count(study, TrialState.PRUNED),
            "failed": tuning.count(study, TrialState.FAIL),
        },
        "best": {"trial": winner.number, "val_accuracy": winner.value, "params": values},
        "epochs": {"trial": p.search.epochs, "full": p.epochs},
        "before": judge(baseline, train, val) | {"seconds_per_epoch": seconds_before},
        "after": judge(tuned, train, val) | {"seconds_per_epoch": seconds},
        "machine": machine(pick_device(p.train.device)),
    }
    with track(f"tune-{p.dataset}", metrics) as log:
        for row in rows:
            log(row)
    files.write_json(Path("metrics", p.dataset, "tune.json"), metrics)
    files.write_csv(plot_dir / "trials.csv", rows)
    points, ticks = tuning.points(rows, task), tuning.ticks(task)
    files.write_csv(plot_dir / "parameters.csv", points)
    files.write_csv(
        plot_dir / "importance.csv",
        [{"parameter": name, "importance": share} for name, share in shares.items()],
    )
    plots.trials(plot_dir / "trials.png", rows, shares, p.dataset)
    plots.parallel(plot_dir / "parallel.png", points, ticks, p.dataset)
    plots.slices(plot_dir / "slices.png", points, ticks, p.dataset)
    checkpoint.unlink(missing_ok=True)


def judge(network: model.MiniXception, train: Faces, val: Faces) -> dict[str, float]:
    """Loss and accuracy on both splits, their faces as they are.

    So that recipes can be compared: what `fit` says of the training split depends on the recipe's
    augmentation and label smoothing.
    """
    found = {}
    for split, given in (("train", train), ("val", val)):
        output = logits(network, torch.tensor(given.images))
        loss, accuracy = loss_and_accuracy(output, torch.tensor(given.labels, dtype=torch.int64))
        found |= {f"{split}_loss": round(loss, 6), f"{split}_accuracy": round(accuracy, 6)}
    return found


def seconds_per_epoch(history: list[training.Row]) -> float:
    """The sum of the medians of the parts of an epoch, as in train.json."""
    parts = [name for name in history[0] if name.startswith("seconds_")]
    return round(sum(median(row[part] for row in history) for part in parts), 4)


if __name__ == "__main__":
    exit_on_error(main)
