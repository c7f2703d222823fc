"""Sum up the emotions of each face in a video, as text and as a plot."""

import importlib.util
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fer.errors import FerError
from fer.files import atomic_path
from fer.predict.recognizer import Face

_MAX_FACES = 12
"""Faces in the summary and in the plot: those that are seen longest."""

_MAX_GAP = 0.5
"""Seconds without a face after which its curve is interrupted."""

_COLORS = (
    *("#d55e00", "#009e73", "#cc79a7", "#f0e442", "#0072b2", "#e69f00", "#bbbbbb", "#56b4e9"),
)
"""Colors that color-blind readers can tell apart (Okabe and Ito 2008), with grey for Neutral."""

_PLOT_SUFFIXES = {".jpg", ".pdf", ".png", ".svg"}


class Timeline:
    """The emotions of the faces in a video over time.

    Args:
        name: Name of the video.
        classes: Names of the classes.
    """

    def __init__(self, name: str, classes: Sequence[str]) -> None:
        self.name, self.classes = name, classes
        self._times: list[float] = []
        self._frames: dict[int, list[int]] = defaultdict(list)
        self._probabilities: dict[int, list[list[float]]] = defaultdict(list)

    def add(self, seconds: float, faces: Sequence[Face]) -> None:
        """Add a frame.

        Args:
            seconds: Its time.
            faces: Its faces; without an id, there is at most one.
        """
        for face in faces:
            self._frames[face.id or 0].append(len(self._times))
            self._probabilities[face.id or 0].append(list(face.probabilities.values()))
        self._times.append(seconds)

    @property
    def has_frames(self) -> bool:
        """Whether a frame was added."""
        return bool(self._times)

    @property
    def has_faces(self) -> bool:
        """Whether a face was seen."""
        return bool(self._frames)

    def summary(self) -> list[str]:
        """Return lines of text: how long each face is seen, and the share of time per emotion."""
        durations = self._durations()
        lines = [f"{self.name}: {durations.sum():.2f} s, {_count(len(self._frames), 'face')}"]
        for face in self._longest():
            seen = durations[self._frames[face]]
            emotions = np.argmax(self._probabilities[face], axis=1)
            shares = np.bincount(emotions, seen, len(self.classes)) / seen.sum()
            order = np.argsort(-shares, kind="stable")
            parts = [f"{self.classes[c]} {shares[c]:.0%}" for c in order if shares[c] >= 0.005]
            lines.append(f"face {face}, {seen.sum():.2f} s: {', '.join(parts)}")
        if len(self._frames) > _MAX_FACES:
            lines.append(f"and {_count(len(self._frames) - _MAX_FACES, 'face')} seen for less time")
        return lines

    def plot(self, path: Path) -> None:
        """Write a plot: a row per face, the probabilities of its emotions over time.

        Args:
            path: The image.

        Raises:
            FerError: If the file cannot be written, or matplotlib is missing.
        """
        check_plot(path)
        from matplotlib.figure import Figure

        faces = self._longest()
        figure = Figure(figsize=(10, 1.4 + 1.1 * len(faces)), layout="constrained")
        axes = figure.subplots(len(faces), sharex=True, sharey=True, squeeze=False)[:, 0]
        for face, axis in zip(faces, axes, strict=True):
            times, values = self._curve(face)
            colors = [_COLORS[number % len(_COLORS)] for number in range(len(self.classes))]
            areas = axis.stackplot(times, 100 * values.T, colors=colors)
            axis.set_ylabel(f"face {face}")
        end = self._times[-1] + self._durations()[-1]
        axes[-1].set(xlabel="time (s)", xlim=(0, end), ylim=(0, 100), yticks=(0, 50, 100))
        figure.supylabel("probability (%)", fontsize="medium")
        columns = min(len(self.classes), 8)
        figure.legend(areas, self.classes, loc="outside upper center", ncols=columns)
        with atomic_path(path) as temporary:
            figure.savefig(temporary)

    def _curve(self, face: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the times of a face, float [N], and its probabilities [N, C], NaN in gaps."""
        times = np.array(self._times)[self._frames[face]]
        values = np.array(self._probabilities[face])
        if len(times) == 1:  # would have no width
            duration = self._durations()[self._frames[face][0]]
            return np.array([times[0], times[0] + duration]), values.repeat(2, 0)
        gaps = np.flatnonzero(np.diff(times) > _MAX_GAP) + 1
        return np.insert(times, gaps, times[gaps - 1]), np.insert(values, gaps, np.nan, 0)

    def _longest(self) -> list[int]:
        """Return the ids of the faces that are seen longest, in rising order."""
        durations = self._durations()
        seen = {face: durations[frames].sum() for face, frames in self._frames.items()}
        return sorted(sorted(seen, key=lambda face: -seen[face])[:_MAX_FACES])

    def _durations(self) -> np.ndarray:
        """Return the seconds from each frame to the next, float [N]; the last gets those before."""
        steps = np.diff(self._times)
        return np.append(steps, steps[-1:] if len(steps) else 0.04)


def check_plot(path: Path) -> None:
    """Check that a plot can be written, before a long video is read.

    Args:
        path: The image to write.

    Raises:
        FerError: If the name has another suffix than .png, .jpg, .svg or .pdf, or matplotlib is
            missing.
    """
    if path.suffix.lower() not in _PLOT_SUFFIXES:
        suffixes = ", ".join(sorted(_PLOT_SUFFIXES))
        raise FerError(f"{path}: is no name for a plot; use one of {suffixes}")
    if importlib.util.find_spec("matplotlib") is None:
        raise FerError("--plot needs matplotlib; pip install matplotlib")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
