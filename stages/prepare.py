"""Turn the CSV into arrays: validate it, clean and balance the training split, describe it."""

import time
from pathlib import Path

from fer import files, params
from fer.data import cleaning, fer2013, raw
from fer.errors import exit_on_error
from fer.machine import machine


def main() -> None:
    p = params.load()
    folder = Path("data", "raw", p.dataset)
    # An experiment in a temporary folder has what git tracks; what the user brought is at home.
    raw.link(params.home() / folder, folder)
    source = raw.find(folder)
    print(f"reading {source}", flush=True)
    start = time.perf_counter()
    splits, bad_rows = fer2013.read(source, p.prepare.on_bad_row)
    seconds = time.perf_counter() - start
    cleaned = splits | {"train": cleaning.clean_train(splits, p.prepare)}

    for split, faces in cleaned.items():
        faces.save(Path("data", p.dataset, split))
    report = {
        "dataset": p.dataset,
        "rows": sum(map(len, splits.values())) + bad_rows,
        "bad_rows": bad_rows,
        "faces": {split: len(faces) for split, faces in cleaned.items()},
        "classes": {split: faces.counts() for split, faces in cleaned.items()},
        **cleaning.report(splits),
        "train_faces_before": len(splits["train"]),
    }
    timings = {"seconds_reading": round(seconds, 3), "machine": machine()}
    metrics = Path("metrics", p.dataset)
    files.write_json(metrics / "prepare.json", report)
    files.write_json(metrics / "timings" / "prepare.json", timings)
    plots = Path("plots", p.dataset)
    files.write_csv(plots / "classes.csv", cleaning.class_counts(splits, cleaned))
    files.write_csv(plots / "intensity.csv", cleaning.intensities(cleaned["train"]))


if __name__ == "__main__":
    exit_on_error(main)
