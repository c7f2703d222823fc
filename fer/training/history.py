"""The history of a training: one row per epoch."""

from statistics import fmean

Row = dict[str, float]
"""One epoch: size of the faces, losses (nats), accuracies (0 to 1), learning rate, seconds."""

PARTS = ("data", "compute", "validation")
"""The parts of an epoch; a row has the seconds of each."""


def best_epoch(history: list[Row]) -> Row:
    """Return the row of the best epoch: the first with the highest `val_score`.

    Only epochs with the largest faces so far count, because val is measured at the size of the
    epoch.
    """
    return max(history, key=lambda row: (row["size"], val_score(row)))


def val_score(row: Row) -> float:
    """Return the mean accuracy on val and on its damaged copy, or on val alone without one."""
    return fmean(row[key] for key in ("val_accuracy", "val_damaged_accuracy") if key in row)


def seconds_per_epoch(history: list[Row]) -> dict[str, float]:
    """Return the mean seconds of each part of an epoch, and their "total"."""
    means = {part: fmean(row[f"seconds_{part}"] for row in history) for part in PARTS}
    return {part: round(s, 4) for part, s in (means | {"total": sum(means.values())}).items()}


def without_seconds(history: list[Row]) -> list[Row]:
    """Return the history without timings, so that a rerun gives the same rows."""
    return [{k: v for k, v in row.items() if not k.startswith("seconds")} for row in history]


def only_seconds(history: list[Row]) -> list[Row]:
    """Return the seconds of each part of each epoch."""
    return [
        {k: v for k, v in row.items() if k == "epoch" or k.startswith("seconds")} for row in history
    ]
