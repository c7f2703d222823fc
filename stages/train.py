"""Train the configuration of params.yaml, keep its best epoch, fine-tune it for int8.

The best epoch is the one with the highest accuracy on val faces that are not in train. To train in
several processes: `torchrun --nproc-per-node=2 -m stages.train`.
"""

from functools import partial
from pathlib import Path

from fer.core import files, params
from fer.core.errors import exit_on_error
from fer.training import distributed, model_file, wandb_log, workflow
from fer.training.device import machine
from fer.training.history import best_epoch, only_seconds, seconds_per_epoch, without_seconds
from fer.training.networks import parameter_count
from fer.training.run import TrainingRun


def main() -> None:
    p = params.load()
    data = Path("data", p.dataset)
    models, plots, metrics = (Path(top) / p.folder for top in ("models", "plots", "metrics"))
    splits = workflow.load(data)
    classes, epochs = splits.train.classes, p.train.epochs_for(len(splits.train))
    teacher = model_file.load_teacher(p.train.distill, classes)
    init = model_file.load_initial(p.config, classes)

    with distributed.process_group(p.settings.device) as device:
        is_main = distributed.is_main_process()
        track = partial(wandb_log.run, p.settings.wandb if is_main else "disabled")
        faces = splits.train, splits.val_unseen
        run = TrainingRun(p.config, *faces, epochs, device, teacher, init, p.damage)
        network, history = workflow.train(track, f"train-{p.name}", run, quiet=not is_main)
    if not is_main:
        return
    network, scores = workflow.finetune_and_score(network, p.train, splits, p.damage)
    origin = {"classes": classes, "dataset": p.dataset}
    path = models / "baseline.pt"
    model_file.save(path, network, p.model, **origin, scores=scores, history=history)
    report = {
        "dataset": p.dataset,
        "faces": splits.counts(),
        "model": p.model.model_dump(),
        "parameters": parameter_count(network),
        "epochs": len(history),
        "best_epoch": best_epoch(history)["epoch"],
        **scores,
    }
    timings = {"seconds_per_epoch": seconds_per_epoch(history), "machine": machine(device)}
    files.write_json(metrics / "train.json", report)
    files.write_json(metrics / "timings" / "train.json", timings)
    files.write_csv(plots / "history.csv", without_seconds(history))
    files.write_csv(plots / "seconds.csv", only_seconds(history))
    run.checkpoint.unlink(missing_ok=True)  # it may be gone: two runs of one kind share it


if __name__ == "__main__":
    exit_on_error(main)
