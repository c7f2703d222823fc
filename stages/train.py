"""Train the recipe of params.yaml, keep the epoch that is best on new faces of val, refine it.

On several devices: `torchrun --nproc-per-node=2 -m stages.train`.
"""

from functools import partial
from pathlib import Path

from fer import files, params, tracking
from fer.errors import exit_on_error
from fer.machine import machine
from fer.training import checkpoint, distributed, initial, runs
from fer.training.clock import seconds, without_seconds
from fer.training.fit import best_epoch, checkpoint_path, seconds_per_epoch, seconds_to
from fer.training.networks import parameter_count

LEVELS = (0.5, 0.55, 0.6, 0.61, 0.62, 0.63, 0.64, 0.65, 0.7, 0.8, 0.9)
"""Accuracies on new faces of val: how long until the first epoch with each."""


def main() -> None:
    p = params.load()
    data, plots = Path("data", p.dataset), Path("plots", p.dataset)
    splits, budget = runs.load(data), params.load_budget(p.dataset)
    classes = splits.train.classes
    models, teacher = Path("models", p.dataset), None
    if budget.teacher_epochs:
        teacher, _ = checkpoint.load(models / "teacher" / "teacher.pt", classes)
    init = initial.load(p.recipe, classes)
    given = (p.recipe, splits.train, splits.new, budget.epochs)
    state = checkpoint_path(*given, teacher, init)

    with distributed.group(p.settings.device) as device:
        first = distributed.is_first()
        track = partial(tracking.run, p.settings.wandb if first else "disabled")
        run = partial(runs.run, track, f"train-{p.dataset}", *given, device)
        network, history = run(checkpoint=state, teacher=teacher, init=init, quiet=not first)
    if not first:
        return
    network, scores = runs.finish(network, p.train, splits)
    path = models / "baseline.pt"
    about = {"classes": classes, "dataset": p.dataset}
    checkpoint.save(path, network, p.model, **about, scores=scores, history=history)
    report = {
        "dataset": p.dataset,
        "faces": splits.counts(),
        "model": p.model.model_dump(),
        "parameters": parameter_count(network),
        "epochs": len(history),
        "best_epoch": best_epoch(history)["epoch"],
        **scores,
    }
    timings = {
        "seconds_per_epoch": seconds_per_epoch(history),
        "seconds_to_val_new_accuracy": seconds_to(history, LEVELS),
        "machine": machine(device),
    }
    metrics = Path("metrics", p.dataset)
    files.write_json(metrics / "train.json", report)
    files.write_json(metrics / "timings" / "train.json", timings)
    files.write_csv(plots / "history.csv", without_seconds(history))
    files.write_csv(plots / "seconds.csv", seconds(history))
    state.unlink(missing_ok=True)  # another run of the same recipe may have been first


if __name__ == "__main__":
    exit_on_error(main)
