"""Faces as rows: for CSV files and for pandas."""

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from fer.predict.recognizer import Face

if TYPE_CHECKING:
    import pandas as pd

Found = tuple[str, float | None, Sequence[Face]]
"""The name of a picture or video, the second of the frame, and the faces there."""


def columns(classes: Sequence[str]) -> list[str]:
    """Names of what `rows` gives."""
    place = ["file", "seconds", "id", "left", "top", "right", "bottom", "emotion"]
    return [*place, *(f"{name} (class)" if name in place else name for name in classes)]


def rows(found: Found, classes: Sequence[str]) -> Iterator[list[str | float | None]]:
    """A row a face, with its probabilities in the order of `classes`; without faces, one of None.

    seconds are those of the video, None for a photo; id is the face's in a video.
    """
    name, seconds, faces = found
    at = None if seconds is None else round(seconds, 3)
    if not faces:
        yield [name, at, *[None] * (len(columns(classes)) - 2)]
    for face in faces:
        probabilities = [round(face.probabilities[one], 4) for one in classes]
        yield [name, at, face.id, *face.box, face.emotion, *probabilities]


def to_frame(found: Iterable[Found], classes: Sequence[str]) -> "pd.DataFrame":
    """The faces of several pictures or frames as a table of pandas, which must be installed."""
    import pandas as pd

    return pd.DataFrame(
        [row for one in found for row in rows(one, classes)], columns=columns(classes)
    )
