"""Train the teacher, from whose logits stage `train` learns, or take it from a file.

Without a teacher, models/<data set>/teacher/ holds no model.
"""

import shutil
from functools import partial
from pathlib import Path

from fer.core import files, params
from fer.core.errors import exit_on_error
from fer.core.params import SCRATCH
from fer.training import distributed, evaluation, model_file, wandb_log, workflow
from fer.training.device import machine, pick_device
from fer.training.history import best_epoch, seconds_per_epoch
from fer.training.networks import parameter_count
from fer.training.run import TrainingRun


def main() -> None:
    p = params.load()
    distributed.require_single_process("teach")
    device, data = pick_device(p.settings.device), Path("data", p.dataset)
    models, metrics = Path("models", p.dataset, "teacher"), Path("metrics", p.dataset)
    path, report, timings = models / "teacher.pt", {"dataset": p.dataset}, {"dataset": p.dataset}
    if not p.teach.epochs:
        path.unlink(missing_ok=True)
    elif p.teach.file != SCRATCH:
        splits = workflow.load(data)
        network, metadata = model_file.load_named(
            "teach.file", Path(p.teach.file), splits.train.classes
        )
        with files.atomic_path(path) as temporary:
            shutil.copyfile(p.teach.file, temporary)
        scores = evaluation.score_splits(network.to(device), splits.train, splits.val, p.damage)
        report |= {"file": p.teach.file, "model": metadata["model"], **scores}
        report["parameters"] = parameter_count(network)
    else:
        splits, track = workflow.load(data), partial(wandb_log.run, p.settings.wandb)
        faces = splits.train, splits.val_unseen
        run = TrainingRun(p.teach, *faces, p.teach.epochs, device, damage=p.damage)
        network, history = workflow.train(track, f"teach-{p.dataset}", run)
        network, scores = workflow.finetune_and_score(network, p.teach.train, splits, p.damage)
        origin = {"classes": splits.train.classes, "dataset": p.dataset, "history": history}
        model_file.save(path, network, p.teach.model, **origin, scores=scores)
        run.checkpoint.unlink(missing_ok=True)
        report |= {"epochs": len(history), "best_epoch": best_epoch(history)["epoch"], **scores}
        report |= {"model": p.teach.model.model_dump(), "parameters": parameter_count(network)}
        timings |= {"seconds_per_epoch": seconds_per_epoch(history), "machine": machine(device)}
    # Without a teacher, this file keeps the folder from being empty, of which DVC would warn.
    files.write_json(models / "metadata.json", {"file": p.teach.file, "epochs": p.teach.epochs})
    files.write_json(metrics / "teach.json", report)
    files.write_json(metrics / "timings" / "teach.json", timings)


if __name__ == "__main__":
    exit_on_error(main)
