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

    best = fastest("per_batch")
    speedup = {"over_per_face_at_its_best": round(fastest("per_face") / best, 1)}
    if 1 in p.benchmark.workers:
        speedup["over_per_face_at_1_worker"] = round(fastest("per_face", workers=1) / best, 1)
    table = tabulate(rows, p.benchmark.workers)
    files.write_json(
        Path("metrics", p.dataset, "benchmark.json"),
        {
            "dataset": p.dataset,
            "faces": len(train),
            "batch_size": p.benchmark.batch_size,
            "seconds_per_epoch": {
                way: {f"workers_{row['workers']}": row[way] for row in table}
                for way in table[0]
                if way != "workers"
            },
            "faces_per_second": {
                way: round(len(train) / fastest(way)) for way in ("per_face", "per_batch")
            },
            "speedup_of_per_batch": speedup,
            "machine": machine(device),
        },
    )
    plot_dir = Path("plots", p.dataset)
    files.write_csv(plot_dir / "benchmark.csv", table)
    plots.benchmark(plot_dir / "benchmark.png", table, p.dataset, os.cpu_count() or 1)


def tabulate(rows: list[dict], workers: list[int]) -> list[dict[str, float]]:
    """Seconds an epoch, a row for each number of workers and a column for each way of loading.

    Without workers, there are none to keep: both columns of a way have its one time.
    """
    seconds = {(r["way"], r["workers"], r["kept"]): r["seconds"] for r in rows}
    return [
        {"workers": n}
        | {
            f"{way}{suffix}": seconds[way, n, kept and n > 0]
            for way in ("per_face", "per_batch")
            for suffix, kept in (("", False), ("_kept", True))
        }
        for n in sorted(workers)
    ]


if __name__ == "__main__":
    exit_on_error(main)
