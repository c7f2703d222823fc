"""Time the ways to load and augment the training split: seconds an epoch, for each worker count."""

import os
from pathlib import Path

from fer import faces, files, params, plots
from fer.benchmark import time_loaders
from fer.device import pick_device
from fer.errors import exit_on_error
from fer.timing import machine


def main() -> None:
    p = params.load()
    device = pick_device(p.train.device)
    train = faces.load(Path("data", p.dataset, "train"))
    rows = time_loaders(train, p.benchmark, device)

    def fastest(way: str, **chosen: int) -> float:
        fitting = [r for r in rows if r["way"] == way and all(r[k] == v for k, v in chosen.items())]
        return min(row["seconds"] for row in fitting)

    seconds = {
        way.replace(" ", "_"): {
            f"workers_{n}": fastest(way, workers=n) for n in p.benchmark.workers
        }
        for way in ("per face", "per batch")
    }
    best = fastest("per batch")
    speedup = {"over_per_face_at_its_best": round(fastest("per face") / best, 1)}
    if 1 in p.benchmark.workers:
        speedup["over_per_face_at_1_worker"] = round(fastest("per face", workers=1) / best, 1)
    files.write_json(
        Path("metrics", p.dataset, "benchmark.json"),
        {
            "dataset": p.dataset,
            "faces": len(train),
            "batch_size": p.benchmark.batch_size,
            "seconds_per_epoch": seconds,
            "speedup_of_per_batch": speedup,
            "machine": machine(device),
        },
    )
    plot_dir = Path("plots", p.dataset)
    files.write_csv(plot_dir / "benchmark.csv", rows)
    plots.benchmark(plot_dir / "benchmark.png", rows, p.dataset, os.cpu_count() or 1)


if __name__ == "__main__":
    exit_on_error(main)
