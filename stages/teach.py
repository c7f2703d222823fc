"""Train the teacher: a larger network, of which `train` has a small one learn."""

from pathlib import Path

from fer import faces, files, params, tracking
from fer.errors import FerError, exit_on_error
from fer.machine import machine
from fer.training import checkpoint, distributed, evaluation
from fer.training.device import pick_device
from fer.training.fit import best_epoch, checkpoint_path, fit, seconds_per_epoch
from fer.training.networks import parameter_count


def main() -> None:
    p = params.load()
    distributed.refuse_several("teach")
    device = pick_device(p.settings.device)
    data, models = Path("data", p.dataset), Path("models", p.dataset, "teacher")
    metrics = Path("metrics", p.dataset)
    files.write_json(models / "about.json", {"epochs": p.teacher_epochs})  # DVC warns of no file
    if not p.teacher_epochs:
        (models / "teacher.pt").unlink(missing_ok=True)
        for folder in (metrics, metrics / "timings"):
            files.write_json(folder / "teach.json", {"dataset": p.dataset, "epochs": 0})
        return
    train, val = faces.load(data / "train"), faces.load(data / "val")
    new = val[~faces.is_in(val, train)]
    if not len(new):
        raise FerError(f"{data}: every val face stands in the training split too")
    state = checkpoint_path(p.teach, train, new, p.teacher_epochs)

    config = {"dataset": p.dataset, "epochs": p.teacher_epochs} | p.teach.model_dump()
    with tracking.run(p.settings.wandb, f"teach-{p.dataset}", config) as run:
        network, history = fit(
            p.teach,
            train,
            new,
            p.teacher_epochs,
            device,
            on_epoch=lambda history: run.log(history[-1]),
            checkpoint=state,
        )
    scores = evaluation.val_scores(network, train, val)
    path, model = models / "teacher.pt", p.teach.model
    checkpoint.save(path, network, model, dataset=p.dataset, scores=scores, history=history)
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
    state.unlink(missing_ok=True)


if __name__ == "__main__":
    exit_on_error(main)
