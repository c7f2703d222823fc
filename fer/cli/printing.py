"""Print predictions as text, JSON or CSV, line by line."""

import csv
import io
import json
import os
import sys
from collections.abc import Callable, Sequence

from fer.core.errors import FerError
from fer.predict import table
from fer.predict.table import Predictions

Printer = Callable[[Predictions], None]
"""Prints the faces of an image or of a frame of a video."""


def print_line(line: str) -> None:
    """Print a line at once.

    Args:
        line: The line.

    Raises:
        FerError: If standard output cannot be written.
    """
    try:
        print(line, flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        discard_output()
        raise FerError(f"standard output: cannot be written: {error.strerror}") from error


def discard_output() -> None:
    """Redirect standard output, because Python flushes it again at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def print_text(predictions: Predictions) -> None:
    """Print a line per face.

    Args:
        predictions: The faces of an image or of a frame.
    """
    file, seconds, faces = predictions
    name = file if seconds is None else f"{file}, {seconds:.2f} s"
    if not faces:
        print_line(f"{name}: no face found")
    for face in faces:
        left, top, right, bottom = face.box
        probability = face.probabilities[face.emotion]
        who = "" if face.id is None else f"face {face.id}: "
        emotion = f"{face.emotion} {probability:.0%}"
        print_line(f"{name}: {who}{emotion}, at {left},{top} to {right},{bottom}")


def print_json(predictions: Predictions) -> None:
    """Print a JSON object.

    Args:
        predictions: The faces of an image or of a frame.
    """
    print_line(json.dumps(table.to_json(predictions)))


def csv_printer(classes: list[str]) -> Printer:
    """Print the header of a CSV file, and return a function that prints a row per face.

    Args:
        classes: Names of the classes, in the order of the probabilities.
    """
    print_line(_csv_line(table.columns(classes)))

    def show(predictions: Predictions) -> None:
        for row in table.rows(predictions, classes):
            print_line(_csv_line(row))

    return show


def _csv_line(row: Sequence[str | float | None]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(row)
    return line.getvalue()
