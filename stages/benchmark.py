"""Measure the seconds per epoch of loading and augmenting, per number of DataLoader workers."""

from pathlib import Path

from fer import faces, files, params
from fer.bench.loaders import fastest, tabulate, time_loaders
from fer.errors import exit_on_error
from fer.machine import machine
from fer.training.device import pick_device


def main() -> None:
    p = params.load()
    device = pick_device(p.settings.device)
    train, budget = faces.load(Path("data", p.dataset, "train")), params.load_budget(p.dataset)
    rows = time_loaders(train, p.benchmark, budget.timings.loader_epochs, device)
    table = tabulate(rows, p.benchmark.workers)

    best = fastest(rows, "per_batch")
    speedup = {"over_fastest_per_face": round(fastest(rows, "per_face") / best, 1)}
    if 1 in p.benchmark.workers:
        single = fastest(rows, "per_face", workers=1)
        speedup["over_per_face_with_1_worker"] = round(single / best, 1)
    report = {
        "dataset": p.dataset,
        "faces": len(train),
        "batch_size": p.benchmark.batch_size,
        "seconds_per_epoch": table,
        "faces_per_second": {
            method: round(len(train) / fastest(rows, method))
            for method in ("per_face", "per_batch")
        },
        "speedup_of_per_batch": speedup,
        "machine": machine(device),
    }
    files.write_json(Path("metrics", p.dataset, "timings", "benchmark.json"), report)
    files.write_csv(Path("plots", p.dataset, "benchmark.csv"), table)


if __name__ == "__main__":
    exit_on_error(main)
