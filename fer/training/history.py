"""The history of a training: one row per epoch."""

from collections.abc import Sequence
from itertools import accumulate
from statistics import fmean

Row = dict[str, float]
"""One epoch: size of the faces, losses (nats), accuracies (0 to 1), learning rate, seconds."""

PARTS = ("data", "compute", "validation")
"""The parts of an epoch; a row has the seconds of each."""


def best_epoch(history: list[Row]) -> Row:
    """Return the row of the best epoch: the first with the highest accuracy on val.

    Only epochs with the largest faces so far count, because `val_accuracy` is measured at the size
    of the epoch.

    Args:
        history: The rows of a training, from `fit`.
    """
    return max(history, key=lambda row: (row["size"], row["val_accuracy"]))


def seconds_per_epoch(history: list[Row]) -> dict[str, float]:
    """Return the mean seconds of each part of an epoch, and their "total".

    Args:
        history: The rows of a training, from `fit`.
    """
    means = {part: fmean(row[f"seconds_{part}"] for row in history) for part in PARTS}
    return {part: round(s, 4) for part, s in (means | {"total": sum(means.values())}).items()}


def seconds_to_accuracy(history: list[Row], levels: Sequence[float]) -> dict[str, float | None]:
    """Return the seconds of training until an epoch at full size first reached each accuracy.

    Args:
        history: The rows of a training, from `fit`.
        levels: Accuracies on val, 0 to 1.

    Returns:
        Seconds by level (as a string); None for a level that was not reached.
    """
    elapsed = list(accumulate(sum(row[f"seconds_{part}"] for part in PARTS) for row in history))
    full_size = max(row["size"] for row in history)
    epochs = [
        (row["val_accuracy"], seconds)
        for row, seconds in zip(history, elapsed, strict=True)
        if row["size"] == full_size
    ]
    return {
        str(level): next(
            (round(seconds, 1) for accuracy, seconds in epochs if accuracy >= level), None
        )
        for level in levels
    }


def without_seconds(history: list[Row]) -> list[Row]:
    """Return the history of a training without timings, so that a rerun gives the same rows.

    Args:
        history: The rows of a training.
    """
    return [{k: v for k, v in row.items() if not k.startswith("seconds")} for row in history]


def only_seconds(history: list[Row]) -> list[Row]:
    """Return the seconds of each part of each epoch.

    Args:
        history: The rows of a training.
    """
    return [
        {k: v for k, v in row.items() if k == "epoch" or k.startswith("seconds")} for row in history
    ]
