"""Measure the seconds per epoch of loading and augmenting, per number of DataLoader workers."""

from pathlib import Path

from fer.core import faces, files, params
from fer.core.errors import exit_on_error
from fer.training.device import machine, pick_device
from fer.training.loader_benchmark import METHODS, fastest, time_loaders


def main() -> None:
    p = params.load()
    device = pick_device(p.settings.device)
    train, epochs = faces.load(Path("data", p.dataset, "train")), p.benchmark.epochs
    table = time_loaders(train, p.benchmark, epochs, device)

    best = fastest(table, "per_batch")
    speedup = {"over_fastest_per_face": round(fastest(table, "per_face") / best, 1)}
    if 1 in p.benchmark.workers:
        single = fastest([row for row in table if row["workers"] == 1], "per_face")
        speedup["over_per_face_with_1_worker"] = round(single / best, 1)
    report = {
        "dataset": p.dataset,
        "faces": len(train),
        "batch_size": p.benchmark.batch_size,
        "seconds_per_epoch": table,
        "faces_per_second": {
            method: round(len(train) / fastest(table, method)) for method in METHODS
        },
        "speedup_of_per_batch": speedup,
        "machine": machine(device),
    }
    files.write_json(Path("metrics", p.dataset, "timings", "benchmark.json"), report)
    files.write_csv(Path("plots", p.dataset, "benchmark.csv"), table)


if __name__ == "__main__":
    exit_on_error(main)
