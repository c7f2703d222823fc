"""Train the teacher: a larger network, from whose logits stage `train` learns."""

from functools import partial
from pathlib import Path

from fer import files, params, tracking
from fer.errors import exit_on_error
from fer.machine import machine
from fer.training import checkpoint, distributed, runs
from fer.training.device import pick_device
from fer.training.fit import best_epoch, checkpoint_path, seconds_per_epoch
from fer.training.networks import parameter_count


def main() -> None:
    p = params.load()
    distributed.require_single_process("teach")
    device = pick_device(p.settings.device)
    data, models = Path("data", p.dataset), Path("models", p.dataset, "teacher")
    metrics = Path("metrics", p.dataset)
    epochs = params.load_budget(p.dataset).teacher_epochs
    # Without a teacher, this file keeps the folder from being empty, of which DVC would warn.
    files.write_json(models / "metadata.json", {"epochs": epochs})
    if not epochs:
        (models / "teacher.pt").unlink(missing_ok=True)
        for folder in (metrics, metrics / "timings"):
            files.write_json(folder / "teach.json", {"dataset": p.dataset, "epochs": 0})
        return
    splits, track = runs.load(data), partial(tracking.run, p.settings.wandb)
    fit_arguments = (p.teach, splits.train, splits.val_unique, epochs)
    resume_from = checkpoint_path(*fit_arguments)
    name = f"teach-{p.dataset}"
    network, history = runs.train(track, name, *fit_arguments, device, checkpoint=resume_from)
    network, scores = runs.finetune_and_score(network, p.teach.train, splits)
    path, model = models / "teacher.pt", p.teach.model
    origin = {"classes": splits.train.classes, "dataset": p.dataset}
    checkpoint.save(path, network, model, **origin, scores=scores, history=history)
    report = {
        "dataset": p.dataset,
        "epochs": len(history),
        "model": model.model_dump(),
        "parameters": parameter_count(network),
        "best_epoch": best_epoch(history)["epoch"],
        **scores,
    }
    timings = {"seconds_per_epoch": seconds_per_epoch(history), "machine": machine(device)}
    files.write_json(metrics / "teach.json", report)
    files.write_json(metrics / "timings" / "teach.json", timings)
    resume_from.unlink(missing_ok=True)


if __name__ == "__main__":
    exit_on_error(main)
