"""Sum up the emotions of each face in a video, as text and as a plot."""

import importlib.util
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fer.core.errors import FerError
from fer.core.files import atomic_path
from fer.predict.recognizer import Face

_MAX_FACES = 12
"""Faces in the summary and in the plot: those that are seen longest."""

_MAX_GAP = 0.5
"""Seconds in frames without a face after which its curve is interrupted."""

_MAX_CLASSES = 8
"""Classes in a plot: the most frequent ones; the others are added up."""

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
        self._end: float | None = None
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

    def finish(self, seconds: float) -> None:
        """Set the end of the video.

        Args:
            seconds: The time until which the last frame is shown.
        """
        self._end = seconds

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
            lines.append(f"and {_count(len(self._frames) - _MAX_FACES, 'more face')}")
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
        names, groups = self._classes_to_plot()
        for face, axis in zip(faces, axes, strict=True):
            times, values = self._curve(face)
            shown = [100 * values[:, group].sum(1) for group in groups]
            areas = axis.stackplot(times, shown, colors=_COLORS)
            axis.set_ylabel(f"face {face}")
        end = self._times[-1] + self._durations()[-1]
        axes[-1].set(xlabel="time (s)", xlim=(0, end), ylim=(0, 100), yticks=(0, 50, 100))
        figure.supylabel("probability (%)", fontsize="medium")
        figure.legend(areas, names, loc="outside upper center", ncols=len(names))
        with atomic_path(path) as temporary:
            figure.savefig(temporary)

    def _classes_to_plot(self) -> tuple[list[str], list[list[int]]]:
        """Return the names of the areas in the plot, and the classes that each adds up."""
        if len(self.classes) <= _MAX_CLASSES:
            return list(self.classes), [[number] for number in range(len(self.classes))]
        totals = np.sum([np.sum(values, 0) for values in self._probabilities.values()], 0)
        order = np.argsort(-totals, kind="stable").tolist()
        shown, rest = order[: _MAX_CLASSES - 1], order[_MAX_CLASSES - 1 :]
        return [*(self.classes[c][:12] for c in shown), "other"], [*([c] for c in shown), rest]

    def _curve(self, face: int) -> tuple[np.ndarray, np.ndarray]:
        """Return times, float [N], and probabilities [N, C], with NaN where the face is away.

        Each part of the curve ends when its last frame does.
        """
        frames = np.array(self._frames[face])
        starts, values = np.array(self._times)[frames], np.array(self._probabilities[face])
        is_away = (np.diff(frames) > 1) & (np.diff(starts) > _MAX_GAP)
        lasts = np.append(np.flatnonzero(is_away), len(frames) - 1)
        ends = starts[lasts] + self._durations()[frames[lasts]]
        times = np.insert(starts, lasts + 1, ends)
        values = np.insert(values, lasts + 1, values[lasts], 0)
        breaks = lasts[:-1] + np.arange(2, len(lasts) + 1)
        return np.insert(times, breaks, ends[:-1]), np.insert(values, breaks, np.nan, 0)

    def _longest(self) -> list[int]:
        """Return the ids of the faces that are seen longest, in rising order."""
        durations = self._durations()
        seen = {face: durations[frames].sum() for face, frames in self._frames.items()}
        return sorted(sorted(seen, key=lambda face: -round(seen[face], 6))[:_MAX_FACES])

    def _durations(self) -> np.ndarray:
        """Return the seconds from each frame to the next, or to the end, float [N]."""
        steps = np.diff(self._times)
        if self._end is not None:
            return np.append(steps, self._end - self._times[-1])
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
