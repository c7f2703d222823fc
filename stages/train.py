"""Train the configuration of params.yaml, keep its best epoch, fine-tune it for int8.

The best epoch is the one with the highest accuracy on val faces that are not in train. To train in
several processes: `torchrun --nproc-per-node=2 -m stages.train`.
"""

from functools import partial
from pathlib import Path

from fer import files, params, tracking
from fer.errors import exit_on_error
from fer.machine import machine
from fer.training import checkpoint, distributed, initial, runs
from fer.training.clock import seconds, without_seconds
from fer.training.fit import best_epoch, checkpoint_path, seconds_per_epoch, seconds_to_accuracy
from fer.training.networks import parameter_count

LEVELS = (0.5, 0.55, 0.6, 0.61, 0.62, 0.63, 0.64, 0.65, 0.7, 0.8, 0.9)
"""Accuracies on val without duplicates; the seconds until an epoch first reaches each are kept."""


def main() -> None:
    p = params.load()
    data, plots = Path("data", p.dataset), Path("plots", p.dataset)
    splits, budget = runs.load(data), params.load_budget(p.dataset)
    classes = splits.train.classes
    models, teacher = Path("models", p.dataset), None
    if budget.teacher_epochs:
        teacher, _ = checkpoint.load(models / "teacher" / "teacher.pt", classes)
    init = initial.load(p.config, classes)
    fit_arguments = (p.config, splits.train, splits.val_unique, budget.epochs)
    resume_from = checkpoint_path(*fit_arguments, teacher, init)

    with distributed.process_group(p.settings.device) as device:
        is_main = distributed.is_main_process()
        track = partial(tracking.run, p.settings.wandb if is_main else "disabled")
        train = partial(runs.train, track, f"train-{p.dataset}", *fit_arguments, device)
        network, history = train(
            checkpoint=resume_from, teacher=teacher, init=init, quiet=not is_main
        )
    if not is_main:
        return
    network, scores = runs.finetune_and_score(network, p.train, splits)
    path = models / "baseline.pt"
    origin = {"classes": classes, "dataset": p.dataset}
    checkpoint.save(path, network, p.model, **origin, scores=scores, history=history)
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
        "seconds_to_val_unique_accuracy": seconds_to_accuracy(history, LEVELS),
        "machine": machine(device),
    }
    metrics = Path("metrics", p.dataset)
    files.write_json(metrics / "train.json", report)
    files.write_json(metrics / "timings" / "train.json", timings)
    files.write_csv(plots / "history.csv", without_seconds(history))
    files.write_csv(plots / "seconds.csv", seconds(history))
    resume_from.unlink(missing_ok=True)  # it may be gone: two runs of one configuration share it


if __name__ == "__main__":
    exit_on_error(main)
