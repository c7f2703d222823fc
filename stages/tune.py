"""Search from the recipe of params.yaml, train the winner in full, and say what was gained."""

import sys
from functools import partial
from pathlib import Path

from optuna.trial import TrialState

from fer import faces, files, params, tracking
from fer.errors import FerError, exit_on_error
from fer.machine import machine
from fer.training import checkpoint, evaluation, search
from fer.training.clock import without_seconds
from fer.training.device import pick_device
from fer.training.fit import (
    DivergedError,
    best_epoch,
    checkpoint_path,
    fit,
    seconds_per_epoch,
)


def main() -> None:
    p = params.load()
    device, url = pick_device(p.settings.device), p.settings.storage
    data, models, plots = (Path(top, p.dataset) for top in ("data", "models", "plots"))
    train, val = faces.load(data / "train"), faces.load(data / "val")
    new = val[~faces.is_in(val, train)]
    if not len(new):
        raise FerError(f"{data}: every val face stands in the training split too")
    network, before = checkpoint.load(models / "baseline.pt")

    task = search.Task(train, new, p.recipe, p.tune, p.search.epochs, device)
    study = search.open_study(task, p.dataset, url)
    track = partial(tracking.run, p.settings.wandb, group=study.study_name)
    search.search(study, task, p.search, url, track)
    trials = study.get_trials(deepcopy=False, states=[TrialState.COMPLETE])
    best = max(trials, key=lambda trial: (trial.value, -trial.number))  # of equals, the first
    # Now, as others may add trials while the winner trains.
    rows, counts = search.table(study, task), search.counts(study)
    importance = search.importance(study, task)

    recipe, scores, history = (
        p.recipe.changed(task.values(best)),
        before["scores"],
        before["history"],
    )
    state, seconds = checkpoint_path(recipe, train, new, p.epochs), None
    if recipe == p.recipe:
        print("no trial was better than the recipe of params.yaml: it stays", flush=True)
    else:
        print(f"trial {best.number} won: {p.epochs} epochs of it", flush=True)
        try:
            with track(f"tuned-{p.dataset}", recipe.model_dump()) as run:
                network, history = fit(
                    recipe,
                    train,
                    new,
                    p.epochs,
                    device,
                    on_epoch=lambda history: run.log(history[-1]),
                    checkpoint=state,
                )
            scores = evaluation.val_scores(network, train, val)
            seconds = seconds_per_epoch(history)
        except DivergedError as error:
            recipe = p.recipe
            print(f"warning: in full, {error}; the recipe of params.yaml stays", file=sys.stderr)
    path = models / "tuned.pt"
    checkpoint.save(path, network, recipe.model, dataset=p.dataset, scores=scores, history=history)

    report = {
        "dataset": p.dataset,
        "faces": {"train": len(train), "val": len(val), "val_new": len(new)},
        "trials": counts,
        "best": {"trial": best.number, "val_accuracy": best.value, "params": task.values(best)},
        "epochs": {"trial": p.search.epochs, "full": p.epochs},
        "before": before["scores"],
        "after": scores,
        "best_epoch": best_epoch(history)["epoch"],
        "importance": importance,
        "scales": search.scales(task),
    }
    timings = {"seconds_per_epoch": seconds, "machine": machine(device)}
    metrics = Path("metrics", p.dataset)
    files.write_json(metrics / "tune.json", report)
    files.write_json(metrics / "timings" / "tune.json", timings)
    files.write_csv(plots / "history_tuned.csv", without_seconds(history))
    files.write_csv(plots / "trials.csv", rows)
    files.write_csv(plots / "parameters.csv", search.positions(rows, task))
    with track(f"tune-{p.dataset}", report) as run:
        for row in rows:
            run.log(row)
    state.unlink(missing_ok=True)


if __name__ == "__main__":
    exit_on_error(main)
