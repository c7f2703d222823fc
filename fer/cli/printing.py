"""Print predictions as text, JSON or CSV, line by line."""

import csv
import json
import sys
from collections.abc import Callable

from fer.predict import table
from fer.predict.table import Predictions

Printer = Callable[[Predictions], None]
"""Prints the faces of an image or of a frame of a video."""


def print_text(predictions: Predictions) -> None:
    """Print a line per face."""
    file, seconds, faces = predictions
    name = file if seconds is None else f"{file}, {seconds:.2f} s"
    if not faces:
        print(f"{name}: no face found", flush=True)
    for face in faces:
        left, top, right, bottom = face.box
        who = "" if face.id is None else f"face {face.id}: "
        print(f"{name}: {who}{face.label}, at {left},{top} to {right},{bottom}", flush=True)


def print_json(predictions: Predictions) -> None:
    """Print a JSON object."""
    print(json.dumps(table.to_json(predictions)), flush=True)


def csv_printer(classes: list[str]) -> Printer:
    """Print the header of a CSV file, and return a function that prints a row per face."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(table.columns(classes))

    def print_rows(predictions: Predictions) -> None:
        writer.writerows(table.rows(predictions, classes))
        sys.stdout.flush()

    return print_rows
