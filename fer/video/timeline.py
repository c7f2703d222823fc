"""Sum up the emotions of each face in a video, as text and as a plot."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fer.core.errors import FerError
from fer.core.files import atomic_path
from fer.predict.recognizer import UNSURE, Face

_MAX_FACES = 12
"""Faces in the summary and in the plot: those that are seen longest."""

_COLORS = ["#d55e00", "#009e73", "#cc79a7", "#f0e442", "#0072b2", "#e69f00", "#bbbbbb", "#56b4e9"]
"""Colors that color-blind readers can tell apart (Okabe and Ito 2008), with grey for Neutral."""

_PLOT_SUFFIXES = (".jpg", ".pdf", ".png", ".svg")


class Timeline:
    """The emotions of the faces in a video over time.

    Attributes:
        times: Time of each frame in seconds.
        end: Time in seconds until which the last frame is shown.
        faces: By id, the probabilities of a face by the number of the frame.
        emotions: By id, the emotion of a face, or "unsure", in the same frames.
    """

    def __init__(self, name: str, classes: Sequence[str]) -> None:
        self.name, self.classes, self.end = name, classes, 0.0
        self.times: list[float] = []
        self.faces: dict[int, dict[int, list[float]]] = defaultdict(dict)
        self.emotions: dict[int, list[str]] = defaultdict(list)

    def add(self, seconds: float, faces: Sequence[Face]) -> None:
        """Add a frame at a time, with its faces; without an id, there is at most one."""
        for face in faces:
            self.faces[face.id or 0][len(self.times)] = list(face.probabilities.values())
            self.emotions[face.id or 0].append(face.emotion or UNSURE)
        self.times.append(seconds)

    def summary(self) -> list[str]:
        """Return lines of text: how long each face is seen, and the share of time per emotion."""
        durations, names = self._durations(), [*self.classes, UNSURE]
        lines = [f"{self.name}: {durations.sum():.2f} s, faces: {len(self.faces)}"]
        for face in self._longest():
            seen = durations[list(self.faces[face])]
            emotions = [names.index(emotion) for emotion in self.emotions[face]]
            shares = np.bincount(emotions, seen, len(names)) / seen.sum()
            order = np.argsort(-shares, kind="stable")
            parts = [f"{names[c]} {shares[c]:.0%}" for c in order if shares[c] >= 0.005]
            lines.append(f"face {face}, {seen.sum():.2f} s, share of time: {', '.join(parts)}")
        if len(self.faces) > _MAX_FACES:
            lines.append(f"more faces: {len(self.faces) - _MAX_FACES}")
        return lines

    def plot(self, path: Path) -> None:
        """Write a plot: a row per face, the probabilities of its emotions over time.

        Of more classes than colors, the most frequent ones are drawn.
        """
        from matplotlib.figure import Figure  # slow to load

        faces = self._longest()
        figure = Figure(figsize=(10, 1.4 + 1.1 * len(faces)), layout="constrained")
        axes = figure.subplots(len(faces), sharex=True, sharey=True, squeeze=False)[:, 0]
        totals = sum(np.sum(list(values.values()), 0) for values in self.faces.values())
        drawn = np.sort(np.argsort(-totals, kind="stable")[: len(_COLORS)])
        edges = np.repeat([*self.times, self.end], 2)[1:-1]  # start and end of each frame
        for face, axis in zip(faces, axes, strict=True):
            values = np.full((len(self.times), len(self.classes)), np.nan)  # a gap
            values[list(self.faces[face])] = list(self.faces[face].values())
            areas = axis.stackplot(edges, 100 * values[:, drawn].repeat(2, 0).T, colors=_COLORS)
            axis.set_ylabel(f"face {face}")
        axes[-1].set(xlabel="time (s)", xlim=(0, self.end), ylim=(0, 100), yticks=(0, 50, 100))
        figure.supylabel("probability (%)", fontsize="medium")
        names = [self.classes[number][:12] for number in drawn]
        figure.legend(areas, names, loc="outside upper center", ncols=len(names))
        with atomic_path(path) as temporary:
            figure.savefig(temporary)

    def _longest(self) -> list[int]:
        """Return the ids of the faces that are seen longest, in rising order."""
        durations = self._durations()
        seen = {face: durations[list(frames)].sum() for face, frames in self.faces.items()}
        return sorted(sorted(seen, key=lambda face: -round(seen[face], 6))[:_MAX_FACES])

    def _durations(self) -> np.ndarray:
        """Return the seconds from each frame to the next, or to the end, float [N]."""
        return np.diff([*self.times, self.end])


def check_plot(path: Path) -> None:
    """Refuse a suffix that is not .png, .jpg, .svg or .pdf, before a long video is read."""
    if path.suffix.lower() not in _PLOT_SUFFIXES:
        raise FerError(f"{path}: is no name for a plot; use one of {', '.join(_PLOT_SUFFIXES)}")
