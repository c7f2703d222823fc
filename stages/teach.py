"""Train the teacher: a larger network, of which `train` has a small one learn."""

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
    distributed.refuse_several("teach")
    device = pick_device(p.settings.device)
    data, models = Path("data", p.dataset), Path("models", p.dataset, "teacher")
    metrics = Path("metrics", p.dataset)
    epochs = params.load_budget(p.dataset).teacher_epochs
    files.write_json(models / "about.json", {"epochs": epochs})  # DVC warns of no file
    if not epochs:
        (models / "teacher.pt").unlink(missing_ok=True)
        for folder in (metrics, metrics / "timings"):
            files.write_json(folder / "teach.json", {"dataset": p.dataset, "epochs": 0})
        return
    splits, track = runs.load(data), partial(tracking.run, p.settings.wandb)
    given = (p.teach, splits.train, splits.new, epochs)
    state = checkpoint_path(*given)
    name = f"teach-{p.dataset}"
    network, history = runs.run(track, name, *given, device, checkpoint=state)
    network, scores = runs.finish(network, p.teach.train, splits)
    path, model = models / "teacher.pt", p.teach.model
    about = {"classes": splits.train.classes, "dataset": p.dataset}
    checkpoint.save(path, network, model, **about, scores=scores, history=history)
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
