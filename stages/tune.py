"""Search from the recipe of params.yaml, train what is better in full, and say what was gained."""

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
from fer.tuning.search import Task, search
from fer.tuning.space import Space, Trial


def main() -> None:
    p = params.load()
    distributed.refuse_several("tune")
    device, budget = pick_device(p.settings.device), params.load_budget(p.dataset)
    plan = budget.search
    data, models, plots = (Path(top, p.dataset) for top in ("data", "models", "plots"))
    splits = runs.load(data)
    classes = splits.train.classes
    network, before = checkpoint.load(models / "baseline.pt", classes)
    init = initial.load(p.recipe, classes)
    space = Space(p.recipe, p.tune)
    task = Task(splits.train, splits.new, p.recipe, space, device, init)
    track = partial(tracking.run, p.settings.wandb, group=f"{p.dataset}-{task.key(plan.epochs)}")
    trials = search(task, p.dataset, plan, p.settings.storage, track)

    final = partial(finals.train, task, seeds=plan.seeds, epochs=plan.final_epochs, track=track)
    start = Trial(0, space.start, None)
    recipe = final(start)
    if recipe is None:
        raise FerError("train.lr: the recipe diverges with another seed; try a lower one")
    chosen = finals.finalists(task, trials, plan.finalists)
    others = [done for trial in chosen if (done := final(trial))]
    best = finals.winner(recipe, others)
    better = p.recipe.changed(best.trial.values)
    scores, history, state = before["scores"], before["history"], None
    if best is recipe:
        print("no trial was better than the recipe by more than the noise: it stays", flush=True)
    else:
        print(f"trial {best.trial.place} is better by more than the noise: in full", flush=True)
        teacher = None
        if budget.teacher_epochs:
            teacher, _ = checkpoint.load(models / "teacher" / "teacher.pt", classes)
        given = (better, splits.train, splits.new, budget.epochs)
        state = checkpoint_path(*given, teacher, init)
        run = partial(runs.run, track, f"tuned-{p.dataset}", *given, device)
        network, history = run(checkpoint=state, teacher=teacher, init=init)
        network, scores = runs.finish(network, better.train, splits)
    path, model = models / "tuned.pt", better.model
    about = {"classes": classes, "dataset": p.dataset}
    checkpoint.save(path, network, model, **about, scores=scores, history=history)

    report = {
        "dataset": p.dataset,
        "faces": splits.counts(),
        "trials": {
            "complete": sum(trial.accuracy is not None for trial in trials),
            "diverged": sum(trial.accuracy is None for trial in trials),
        },
        "epochs": {"trial": plan.epochs, "final": plan.final_epochs, "full": budget.epochs},
        "seeds": [one.train.seed for one in finals.seeded(task, start, plan.seeds)],
        "finals": [finals.summary(done, recipe) for done in (recipe, *others)],
        "winner": {"trial": best.trial.place, "params": best.trial.values},
        "before": before["scores"],
        "after": scores,
        "best_epoch": best_epoch(history)["epoch"],
        "importance": space.importance(trials),
        "scales": space.scales(),
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
    task.forget((p.recipe.changed(trial.values) for trial in trials), plan.epochs)
    for trial in (start, *chosen):
        task.forget(finals.seeded(task, trial, plan.seeds), plan.final_epochs)
    if state:
        state.unlink(missing_ok=True)


if __name__ == "__main__":
    exit_on_error(main)
