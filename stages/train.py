"""Train the recipe of params.yaml, and keep the epoch that is best on the val split."""

from pathlib import Path
from statistics import median

from fer import faces, files, model, params, plots, tracking, training
from fer.device import pick_device, pick_precision
from fer.errors import exit_on_error
from fer.timing import machine


def main() -> None:
    p = params.load()
    device = pick_device(p.train.device)
    data, plot_dir = Path("data", p.dataset), Path("plots", p.dataset)
    train, val = faces.load(data / "train"), faces.load(data / "val")

    checkpoint = Path("models", p.dataset, "baseline.ckpt")
    config = p.model_dump(include={"dataset", "model", "train"}) | {"epochs": p.epochs}
    with tracking.run(p.tracking.wandb, f"train-{p.dataset}", config) as log:

        def on_epoch(history: list[training.Row]) -> None:
            files.write_csv(plot_dir / "history.csv", history)
            log(history[-1])

        network, history = training.fit(
            p.model.width,
            train,
            val,
            p.train,
            p.epochs,
            on_epoch=on_epoch,
            checkpoint=checkpoint,
        )
        best = training.best_epoch(history)
        scores = {k: best[k] for k in ("epoch", "val_accuracy", "val_loss")}
        path = Path("models", p.dataset, "baseline.pt")
        model.save(path, network, dataset=p.dataset, scores=scores)

    plots.history(plot_dir / "history.png", history, p.dataset)
    seconds = {
        part: round(median(row[f"seconds_{part}"] for row in history), 4)
        for part in ("data", "compute", "validation")
    }
    files.write_json(
        Path("metrics", p.dataset, "train.json"),
        {
            "dataset": p.dataset,
            "faces": {"train": len(train), "val": len(val)},
            "parameters": network.parameter_count(),
            "epochs": len(history),
            "best": {k: v for k, v in best.items() if not k.startswith("seconds_")},
            "seconds_per_epoch": seconds | {"total": round(sum(seconds.values()), 4)},
            "machine": machine(device)
            | {"precision": str(pick_precision(p.train.precision, device)).removeprefix("torch.")},
        },
    )
    checkpoint.unlink()


if __name__ == "__main__":
    exit_on_error(main)
