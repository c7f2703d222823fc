"""Turn the CSV into arrays: validate it, clean and balance the training split, describe it."""

import os
import time
from pathlib import Path

import torch

from fer import fer2013, files, params, plots, quality, raw
from fer.balance import clean_train
from fer.errors import exit_on_error
from fer.timing import machine


def main() -> None:
    p = params.load()
    folder = Path("data", "raw", p.dataset)
    # An experiment in a temporary folder has what git tracks; what the user brought is in the
    # repository that it was started from, which DVC names.
    raw.link(os.environ.get("DVC_ROOT", ".") / folder, folder)
    start = time.perf_counter()
    splits, bad_rows = fer2013.read(raw.find(folder), p.prepare.on_bad_row)
    seconds = time.perf_counter() - start

    cleaned = splits | {"train": clean_train(splits, p.prepare)}
    for split, faces in cleaned.items():
        faces.save(Path("data", p.dataset, split))

    files.write_json(
        Path("metrics", p.dataset, "prepare.json"),
        {
            "dataset": p.dataset,
            "rows": sum(map(len, splits.values())) + bad_rows,
            "bad_rows": bad_rows,
            "faces": {split: len(faces) for split, faces in cleaned.items()},
            "classes": {split: faces.counts() for split, faces in cleaned.items()},
            **quality.report(splits),
            "train_faces_before": len(splits["train"]),
            "seconds_reading": round(seconds, 3),
            "machine": machine(torch.device("cpu")),
        },
    )
    plot_dir = Path("plots", p.dataset)
    files.write_csv(
        plot_dir / "classes.csv",
        [
            {
                "split_class": f"{split} {name}",
                "before": splits[split].counts()[name],
                "after": after,
            }
            for split, faces in cleaned.items()
            for name, after in faces.counts().items()
        ],
    )
    plots.classes(plot_dir / "classes.png", splits, cleaned, p.dataset)
    plots.sample_faces(plot_dir / "faces.png", splits["train"], p.dataset)
    plots.intensity(plot_dir / "intensity.png", cleaned["train"], p.dataset)


if __name__ == "__main__":
    exit_on_error(main)
