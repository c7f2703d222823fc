"""Arrange predictions as rows of a CSV file, or as JSON."""

from collections.abc import Iterator, Sequence
from typing import Any

from fer.predict.recognizer import UNSURE, Face

Predictions = tuple[str, float | None, Sequence[Face]]
"""Name of an image or video, time of the frame in seconds (None for an image), and the faces."""


def columns(classes: Sequence[str]) -> list[str]:
    """Return the column names of `rows`; a box may reach beyond the edge of its image."""
    fixed = ["file", "seconds", "id", "left", "top", "right", "bottom", "score", "emotion"]
    return [*fixed, *(f"{name} (class)" if name in fixed else name for name in classes)]


def rows(predictions: Predictions, classes: Sequence[str]) -> Iterator[list[str | float | None]]:
    """Yield one row per face; for an image without faces, one row with None."""
    name, seconds, faces = predictions
    rounded = None if seconds is None else round(seconds, 3)
    if not faces:
        yield [name, rounded, *[None] * (len(columns(classes)) - 2)]
    for face in faces:
        probabilities = [round(face.probabilities[class_name], 4) for class_name in classes]
        score = None if face.score is None else round(face.score, 4)
        yield [name, rounded, face.id, *face.box, score, face.emotion or UNSURE, *probabilities]


def to_json(predictions: Predictions) -> dict[str, Any]:
    """Return the faces of an image or of a frame as an object of JSON."""
    file, seconds, faces = predictions
    entries = [
        ({} if face.id is None else {"id": face.id})
        | {
            "box": face.box,
            **({} if face.score is None else {"score": round(face.score, 4)}),
            "emotion": face.emotion or UNSURE,
            "probabilities": {name: round(p, 4) for name, p in face.probabilities.items()},
        }
        for face in faces
    ]
    source = {"file": file} if seconds is None else {"file": file, "seconds": round(seconds, 3)}
    return source | {"faces": entries}
