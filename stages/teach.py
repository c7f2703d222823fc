"""Train the teacher: a larger network, from whose logits stage `train` learns."""

from functools import partial
from pathlib import Path

from fer.core import files, params
from fer.core.errors import exit_on_error
from fer.training import distributed, model_file, wandb_log, workflow
from fer.training.device import machine, pick_device
from fer.training.history import best_epoch, seconds_per_epoch
from fer.training.networks import parameter_count
from fer.training.run import TrainingRun


def main() -> None:
    p = params.load()
    distributed.require_single_process("teach")
    device = pick_device(p.settings.device)
    data, models = Path("data", p.dataset), Path("models", p.dataset, "teacher")
    metrics, epochs = Path("metrics", p.dataset), p.teach.epochs
    if not epochs:
        # Without a teacher, this file keeps the folder from being empty, of which DVC would warn.
        files.write_json(models / "metadata.json", {"epochs": 0})
        (models / "teacher.pt").unlink(missing_ok=True)
        for folder in (metrics, metrics / "timings"):
            files.write_json(folder / "teach.json", {"dataset": p.dataset, "epochs": 0})
        return
    splits, track = workflow.load(data), partial(wandb_log.run, p.settings.wandb)
    run = TrainingRun(p.teach, splits.train, splits.val_unseen, epochs, device)
    network, history = workflow.train(track, f"teach-{p.dataset}", run)
    network, scores = workflow.finetune_and_score(network, p.teach.train, splits)
    origin = {"classes": splits.train.classes, "dataset": p.dataset}
    path, model = models / "teacher.pt", p.teach.model
    model_file.save(path, network, model, **origin, scores=scores, history=history)
    report = {
        "dataset": p.dataset,
        "epochs": len(history),
        "model": model.model_dump(),
        "parameters": parameter_count(network),
        "best_epoch": best_epoch(history)["epoch"],
        **scores,
    }
    timings = {"seconds_per_epoch": seconds_per_epoch(history), "machine": machine(device)}
    files.write_json(models / "metadata.json", {"epochs": epochs})
    files.write_json(metrics / "teach.json", report)
    files.write_json(metrics / "timings" / "teach.json", timings)
    run.checkpoint.unlink(missing_ok=True)


if __name__ == "__main__":
    exit_on_error(main)
