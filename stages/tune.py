"""Search from the configuration of params.yaml and train the winner in full."""

from functools import partial
from pathlib import Path

from fer.core import files, params
from fer.core.errors import FerError, exit_on_error
from fer.training import distributed, initial, model_file, wandb_log, workflow
from fer.training.device import machine, pick_device
from fer.training.history import best_epoch, without_seconds
from fer.training.run import TrainingRun
from fer.tuning import finals
from fer.tuning.search import SearchTask, search
from fer.tuning.space import Space, Trial


def main() -> None:
    p = params.load()
    distributed.require_single_process("tune")
    device = pick_device(p.settings.device)
    data, models, plots = (Path(top, p.dataset) for top in ("data", "models", "plots"))
    splits = workflow.load(data)
    epochs = p.train.epochs_for(len(splits.train))
    trial_epochs, final_epochs = p.tune.epochs_for(epochs)
    classes = splits.train.classes
    network, baseline_metadata = model_file.load(models / "baseline.pt", classes)
    init = initial.load(p.config, classes)
    space = Space(p.config, p.tune)
    task = SearchTask(splits.train, splits.val_unseen, p.config, space, device, init)
    track = partial(wandb_log.run, p.settings.wandb, group=f"{p.dataset}-{task.key(trial_epochs)}")
    folds = finals.split_folds(splits.train, p.tune.folds, p.tune.seed)
    if init:
        print(
            "train.init: the finals are biased if these weights were trained on the same faces",
            flush=True,
        )
    trials = search(task, p.dataset, p.tune.trials, trial_epochs, p.settings.storage, track)

    train_final = partial(finals.train, task, folds=folds, epochs=final_epochs, track=track)
    baseline_trial = Trial(0, space.baseline_values, None)
    baseline = train_final(baseline_trial)
    if baseline is None:
        raise FerError(
            f"train.lr is {p.train.lr}: the baseline diverges in the finals; try a lower one"
        )
    finalists = finals.finalists(task, trials, 1)
    candidates = [final for trial in finalists if (final := train_final(trial))]
    winner = finals.select_winner(baseline, candidates, folds)
    config = p.config.with_values(winner.trial.values)
    scores, history = baseline_metadata["scores"], baseline_metadata["history"]
    resume_from = None
    if winner is baseline:
        print("no trial is better by more than the margin of error: keep the baseline", flush=True)
    else:
        print(f"trial {winner.trial.index} is better: train it in full", flush=True)
        teacher = model_file.load_teacher(models, classes) if p.teach.epochs else None
        run = TrainingRun(config, splits.train, splits.val_unseen, epochs, device, teacher, init)
        network, history = workflow.train(track, f"tuned-{p.dataset}", run)
        network, scores = workflow.finetune_and_score(network, config.train, splits)
        resume_from = run.checkpoint
    tuned, origin = models / "tuned", {"classes": classes, "dataset": p.dataset}
    # If the baseline wins, this file keeps the folder from being empty, of which DVC would warn.
    files.write_json(tuned / "metadata.json", {"trial": winner.trial.index})
    if winner is baseline:
        for name in ("tuned.pt", "history.csv"):
            (tuned / name).unlink(missing_ok=True)
    else:
        path = tuned / "tuned.pt"
        model_file.save(path, network, config.model, **origin, scores=scores, history=history)
        files.write_csv(tuned / "history.csv", without_seconds(history))

    report = {
        "dataset": p.dataset,
        "faces": splits.counts(),
        "trials": {
            "complete": sum(trial.accuracy is not None for trial in trials),
            "diverged": sum(trial.accuracy is None for trial in trials),
        },
        "epochs": {"trial": trial_epochs, "final": final_epochs, "full": epochs},
        "finals": [finals.summary(final, baseline, folds) for final in (baseline, *candidates)],
        "winner": {"trial": winner.trial.index, "params": winner.trial.values},
        "before": baseline_metadata["scores"],
        "after": scores,
        "best_epoch": best_epoch(history)["epoch"],
        "importance": space.importance(trials),
        "scales": space.scales(),
        "log_scales": space.log_scales(),
    }
    metrics = Path("metrics", p.dataset)
    files.write_json(metrics / "tune.json", report)
    files.write_json(metrics / "timings" / "tune.json", {"machine": machine(device)})
    rows = space.table(trials)
    files.write_csv(plots / "trials.csv", rows)
    files.write_csv(plots / "parameters.csv", space.positions(trials))
    with track(f"tune-{p.dataset}", report) as run:
        for row in rows:
            run.log(row)
    task.remove_checkpoints((p.config.with_values(trial.values) for trial in trials), trial_epochs)
    for trial in (baseline_trial, *finalists):
        for _, fold_task, config in finals.runs(task, trial, folds):
            fold_task.remove_checkpoints([config], final_epochs)
    if resume_from:
        resume_from.unlink(missing_ok=True)


if __name__ == "__main__":
    exit_on_error(main)
