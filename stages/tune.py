"""Search from the recipe of params.yaml, train the best in full, and say what was gained."""

from functools import partial
from pathlib import Path

from fer import faces, files, params, tracking
from fer.errors import FerError, exit_on_error
from fer.machine import machine
from fer.training import checkpoint, evaluation
from fer.training.device import pick_device
from fer.training.fit import best_epoch
from fer.tuning import finals
from fer.tuning.search import Task, search
from fer.tuning.space import Space, Trial


def main() -> None:
    p = params.load()
    device, budget = pick_device(p.settings.device), p.search
    data, models, plots = (Path(top, p.dataset) for top in ("data", "models", "plots"))
    train, val = faces.load(data / "train"), faces.load(data / "val")
    new = val[~faces.is_in(val, train)]
    if not len(new):
        raise FerError(f"{data}: every val face stands in the training split too")
    network, before = checkpoint.load(models / "baseline.pt")
    teacher = None
    if p.teacher_epochs:
        teacher, _ = checkpoint.load(models / "teacher" / "teacher.pt")

    space = Space(p.recipe, p.tune)
    task = Task(train, new, p.recipe, space, teacher, device)
    track = partial(tracking.run, p.settings.wandb, group=f"{p.dataset}-{task.key(budget.epochs)}")
    trials = search(task, p.dataset, budget, p.settings.storage, track)

    start = Trial(0, space.start, None)
    known = [(network, before["history"])]
    in_full = partial(finals.train, task, seeds=budget.seeds, epochs=p.epochs, track=track)
    recipe = in_full(start, known=known)
    if recipe is None:
        raise FerError("train.lr: the recipe diverges with another seed; try a lower one")
    found = finals.finalists(task, trials, budget.finalists)
    others = [final for trial in found if (final := in_full(trial))]
    best = finals.winner(recipe, others)
    if best is recipe:
        print("no trial was better than the recipe by more than the noise: it stays", flush=True)
        scores = before["scores"]
    else:
        print(
            f"trial {best.trial.place} won: better than the recipe by more than the noise",
            flush=True,
        )
        scores = evaluation.val_scores(best.network, train, val)
    model = p.recipe.changed(best.trial.values).model
    path, history = models / "tuned.pt", best.history
    checkpoint.save(path, best.network, model, dataset=p.dataset, scores=scores, history=history)

    report = {
        "dataset": p.dataset,
        "faces": {"train": len(train), "val": len(val), "val_new": len(new)},
        "trials": {
            "complete": sum(trial.accuracy is not None for trial in trials),
            "diverged": sum(trial.accuracy is None for trial in trials),
        },
        "epochs": {"trial": budget.epochs, "full": p.epochs},
        "seeds": [one.train.seed for one in finals.seeded(task, start, budget.seeds)],
        "finals": [finals.summary(final, recipe) for final in (recipe, *others)],
        "winner": {"trial": best.trial.place, "params": best.trial.values},
        "before": before["scores"],
        "after": scores,
        "best_epoch": best_epoch(history)["epoch"],
        "importance": space.importance(trials),
        "scales": space.scales(),
        "machine": machine(device),
    }
    files.write_json(Path("metrics", p.dataset, "tune.json"), report)
    rows = space.table(trials)
    files.write_csv(plots / "history_tuned.csv", history)
    files.write_csv(plots / "trials.csv", rows)
    files.write_csv(plots / "parameters.csv", space.positions(trials))
    with track(f"tune-{p.dataset}", report) as run:
        for row in rows:
            run.log(row)
    task.forget((p.recipe.changed(trial.values) for trial in trials), budget.epochs)
    for trial in (start, *found):
        task.forget(finals.seeded(task, trial, budget.seeds), p.epochs)


if __name__ == "__main__":
    exit_on_error(main)
