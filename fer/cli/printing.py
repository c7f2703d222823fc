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


def print_error(error: FerError) -> None:
    """Print an error after which the command goes on."""
    print(f"error: {error}", file=sys.stderr)


def warn(text: str) -> None:
    """Print a warning."""
    print(f"warning: {text}", file=sys.stderr)


def print_text(predictions: Predictions) -> None:
    """Print a line per face."""
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
    """Print a JSON object."""
    print_line(json.dumps(table.to_json(predictions)))


def csv_printer(classes: list[str]) -> Printer:
    """Print the header of a CSV file, and return a function that prints a row per face."""

    def print_row(row: Sequence[str | float | None]) -> None:
        line = io.StringIO()
        csv.writer(line, lineterminator="").writerow(row)
        print_line(line.getvalue())

    def print_rows(predictions: Predictions) -> None:
        for row in table.rows(predictions, classes):
            print_row(row)

    print_row(table.columns(classes))
    return print_rows
