"""Read a data set, split it, clean and balance train, and write arrays of faces."""

import time
from collections import Counter
from pathlib import Path

from fer.core import files, params
from fer.core.errors import exit_on_error
from fer.core.machine import cores, cpu_name
from fer.data import cleaning, formats, raw, similar
from fer.data.dataset import warn


def main() -> None:
    p = params.load()
    folder, target = Path("data", "raw", p.dataset), Path("data", p.dataset)
    # The folder of a temporary experiment holds only what git tracks; link the user's files to it.
    raw.link_entries(params.repository_root() / folder, folder)
    start = time.perf_counter()
    data = formats.read(folder, p.prepare)
    seconds = time.perf_counter() - start
    rows = cleaning.select_train_rows(data.splits, p.prepare)
    problems = cleaning.count_problems(data.splits)
    if count := problems["identical_groups_of_different_labels"]:
        warn(f"pictures that are in several classes: {count}")

    cleaned, sources, groups = dict(data.splits), dict(data.sources), dict(data.groups)
    if rows is not None:
        cleaned["train"] = data.splits["train"][rows]
        sources["train"] = [data.sources["train"][row] for row in rows]
        groups |= {"train": [groups["train"][row] for row in rows]} if groups else {}
    pairs = similar.similar_pairs(cleaned, sources)
    if pairs:
        warn(f"faces of val and test that look nearly like one in train: {len(pairs)}; see report")
    files.write_table(target / "pairs.csv", similar.COLUMNS, pairs)
    for split, faces in cleaned.items():
        faces.save(target / split)
        class_names = [faces.classes[label] for label in faces.labels]
        group_names = groups.get(split) or [""] * len(faces)
        picture_rows = zip(sources[split], class_names, group_names, strict=True)
        path = target / split / "pictures.csv"
        files.write_table(path, ("picture", "class", "group"), picture_rows)
    changed = (*data.dropped, *data.corrections)
    dropped_rows = ((face.source, face.reason, face.detail) for face in changed)
    files.write_table(target / "dropped.csv", ("picture", "reason", "detail"), dropped_rows)
    report = {
        "dataset": p.dataset,
        "format": data.format,
        "rows": sum(map(len, data.splits.values())) + len(data.dropped),
        "corrections": len(data.corrections),
        "dropped": dict(sorted(Counter(face.reason for face in data.dropped).items())),
        "faces": {split: len(faces) for split, faces in cleaned.items()},
        "classes": {split: faces.counts() for split, faces in cleaned.items()},
        **problems,
        **{
            f"{split}_faces_nearly_in_train": sum(
                pair[0] == split and pair[-1] < 1 for pair in pairs
            )
            for split in ("val", "test")
        },
        "train_faces_before": len(data.splits["train"]),
    }
    timings = {"seconds_reading": round(seconds, 3), "cpu": cpu_name(), "cores": cores()}
    metrics, plots = Path("metrics", p.dataset), Path("plots", p.dataset)
    files.write_json(metrics / "prepare.json", report)
    files.write_json(metrics / "timings" / "prepare.json", timings)
    files.write_csv(plots / "classes.csv", cleaning.class_counts(data.splits, cleaned))


if __name__ == "__main__":
    exit_on_error(main)
