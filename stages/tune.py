"""Search from the configuration of params.yaml and train the winner in full."""

from functools import partial
from pathlib import Path

import numpy as np

from fer.core import files, params
from fer.core.errors import exit_on_error
from fer.core.faces import digests
from fer.training import distributed, model_file, wandb_log, workflow
from fer.training.device import machine, pick_device
from fer.training.history import without_seconds
from fer.training.run import TrainingRun
from fer.tuning import finals, suspects
from fer.tuning.search import SearchTask, distributions, search, table


def main() -> None:
    p = params.load()
    distributed.require_single_process("tune")
    device = pick_device(p.settings.device)
    data = Path("data", p.dataset)
    models, plots, metrics = (Path(top) / p.folder for top in ("models", "plots", "metrics"))
    splits = workflow.load(data)
    classes, epochs = splits.train.classes, p.train.epochs_for(len(splits.train))
    trial_epochs, final_epochs = p.tune.epochs_for(epochs, len(splits.train))
    _, baseline = model_file.load(models / "baseline.pt", classes)
    init = model_file.load_initial(p.config, classes)
    if init:
        print("train.init: weights of the same training faces bias the finals", flush=True)

    pictures = files.read_rows(data / "train" / "pictures.csv")
    groups = np.array([row["group"] for row in pictures])
    count = len(set(digests(splits.train)))
    tune = p.tune.model_copy(update={"trials": p.tune.trials_for(count)})
    task = SearchTask(p.config, tune, splits.train, splits.val_unseen, device, init, p.damage)
    study = task.study_name(p.name, trial_epochs)
    track = partial(wandb_log.run, p.settings.wandb, group=study)
    trials = search(task, study, trial_epochs, p.settings.storage, track)
    results, probabilities, checkpoints = finals.run(task, trials, final_epochs, track, groups)
    winner = finals.winner(results)
    rows = table(trials)
    report = {
        "dataset": p.dataset,
        "faces": splits.counts(),
        "trials": {"complete": len(rows), "diverged": len(trials) - len(rows)},
        "epochs": {"trial": trial_epochs, "final": final_epochs, "full": epochs},
        "finals": results,
        "winner": {name: winner[name] for name in ("trial", "params")},
        "before": baseline["scores"],
        "distributions": distributions(trials),
    }
    if tune.trials < 4 and p.tune.trials == "auto":
        margin = params.margin_of_gain(count)
        report["off"] = f"{count:,} different training faces show no gain below {margin:.0%}"
        print(f"the search is off: {report['off']} (tune.trials turns it on)", flush=True)
    tuned = models / "tuned"
    if winner["trial"] == 0:
        print("no trial is better by more than the margin of error: keep the baseline", flush=True)
        (tuned / "tuned.pt").unlink(missing_ok=True)
        (tuned / "history.csv").unlink(missing_ok=True)
    else:
        print(f"trial {winner['trial']} is better: train it in full", flush=True)
        config = p.config.with_values(winner["params"])
        teacher = model_file.load_teacher(config.train.distill, classes)
        faces = splits.train, splits.val_unseen
        run = TrainingRun(config, *faces, epochs, device, teacher, init, p.damage)
        network, history = workflow.train(track, f"tuned-{p.name}", run)
        network, scores = workflow.finetune_and_score(network, config.train, splits, p.damage)
        report["after"] = scores
        origin = {"classes": classes, "dataset": p.dataset, "scores": scores, "history": history}
        model_file.save(tuned / "tuned.pt", network, config.model, **origin)
        files.write_csv(tuned / "history.csv", without_seconds(history))
        checkpoints.append(run.checkpoint)
    with files.atomic_path(data / p.size / "held_out.npy") as temporary:
        np.save(temporary, probabilities)
    names = [row["picture"] for row in pictures]
    suspicious = suspects.rows(names, splits.train.labels, classes, probabilities)
    files.write_table(data / p.size / "suspects.csv", suspects.COLUMNS, suspicious)
    # If the baseline wins, this file keeps the folder from being empty, of which DVC would warn.
    files.write_json(tuned / "metadata.json", {"trial": winner["trial"]})
    files.write_json(metrics / "tune.json", report)
    files.write_json(metrics / "timings" / "tune.json", {"machine": machine(device)})
    files.write_csv(plots / "trials.csv", rows)
    with track(f"tune-{p.name}", report) as logged:
        for row in rows:
            logged.log(row)
    for path in checkpoints:
        path.unlink(missing_ok=True)


if __name__ == "__main__":
    exit_on_error(main)
