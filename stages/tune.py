"""Search from the configuration of params.yaml and train the winner in full."""

from functools import partial
from pathlib import Path

from fer import files, params, tracking
from fer.errors import FerError, exit_on_error
from fer.machine import machine
from fer.training import checkpoint, distributed, initial, runs
from fer.training.clock import without_seconds
from fer.training.device import pick_device
from fer.training.fit import best_epoch, checkpoint_path
from fer.tuning import finals
from fer.tuning.search import SearchTask, search
from fer.tuning.space import Space, Trial


def main() -> None:
    p = params.load()
    distributed.require_single_process("tune")
    device, budget = pick_device(p.settings.device), params.load_budget(p.dataset)
    plan = budget.search
    data, models, plots = (Path(top, p.dataset) for top in ("data", "models", "plots"))
    splits = runs.load(data)
    classes = splits.train.classes
    network, baseline_metadata = checkpoint.load(models / "baseline.pt", classes)
    init = initial.load(p.config, classes)
    space = Space(p.config, p.tune)
    task = SearchTask(splits.train, splits.val_unique, p.config, space, device, init)
    track = partial(tracking.run, p.settings.wandb, group=f"{p.dataset}-{task.key(plan.epochs)}")
    folds = finals.split_folds(splits.train, plan.folds, p.tune.seed)
    if init:
        print(
            "train.init: the finals are biased if these weights were trained on the same faces",
            flush=True,
        )
    trials = search(task, p.dataset, plan, p.settings.storage, track)

    train_final = partial(finals.train, task, folds=folds, epochs=plan.final_epochs, track=track)
    baseline_trial = Trial(0, space.baseline_values, None)
    baseline = train_final(baseline_trial)
    if baseline is None:
        raise FerError(
            f"train.lr is {p.train.lr}: the baseline diverges in the finals; try a lower one"
        )
    finalists = finals.finalists(task, trials, plan.finalists)
    candidates = [final for trial in finalists if (final := train_final(trial))]
    winner = finals.select_winner(baseline, candidates, folds)
    config = p.config.with_values(winner.trial.values)
    scores, history = baseline_metadata["scores"], baseline_metadata["history"]
    resume_from = None
    if winner is baseline:
        print("no trial is better by more than the margin of error: keep the baseline", flush=True)
    else:
        print(f"trial {winner.trial.index} is better: train it in full", flush=True)
        teacher = None
        if budget.teacher_epochs:
            teacher, _ = checkpoint.load(models / "teacher" / "teacher.pt", classes)
        fit_arguments = (config, splits.train, splits.val_unique, budget.epochs)
        resume_from = checkpoint_path(*fit_arguments, teacher, init)
        train = partial(runs.train, track, f"tuned-{p.dataset}", *fit_arguments, device)
        network, history = train(checkpoint=resume_from, teacher=teacher, init=init)
        network, scores = runs.finetune_and_score(network, config.train, splits)
    path, model = models / "tuned.pt", config.model
    origin = {"classes": classes, "dataset": p.dataset}
    checkpoint.save(path, network, model, **origin, scores=scores, history=history)

    report = {
        "dataset": p.dataset,
        "faces": splits.counts(),
        "trials": {
            "complete": sum(trial.accuracy is not None for trial in trials),
            "diverged": sum(trial.accuracy is None for trial in trials),
        },
        "epochs": {"trial": plan.epochs, "final": plan.final_epochs, "full": budget.epochs},
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
    files.write_csv(plots / "history_tuned.csv", without_seconds(history))
    files.write_csv(plots / "trials.csv", rows)
    files.write_csv(plots / "parameters.csv", space.positions(trials))
    with track(f"tune-{p.dataset}", report) as run:
        for row in rows:
            run.log(row)
    task.remove_checkpoints((p.config.with_values(trial.values) for trial in trials), plan.epochs)
    for trial in (baseline_trial, *finalists):
        for _, fold_task, config in finals.runs(task, trial, folds):
            fold_task.remove_checkpoints([config], plan.final_epochs)
    if resume_from:
        resume_from.unlink(missing_ok=True)


if __name__ == "__main__":
    exit_on_error(main)
