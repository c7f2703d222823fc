"""Sum up the emotions of each face in a video."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise

_MAX_FACES = 12
"""Faces in the summary: those that are seen longest."""

Emotions = Mapping[int, str]
"""The emotion of each face in a frame, or "unsure", by the id of the face."""


def summary(video: str, frames: Sequence[tuple[float, Emotions]], end: float) -> list[str]:
    """Return lines of text: how long each face is seen, and the share of time per emotion.

    Each frame has its time in seconds; the last one is shown until `end`.
    """
    durations: dict[int, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for (start, emotions), (next_start, _) in pairwise([*frames, (end, {})]):
        for face, emotion in emotions.items():
            durations[face][emotion] += next_start - start
    seen = {face: sum(by_emotion.values()) for face, by_emotion in durations.items()}
    longest = sorted(seen, key=lambda face: -round(seen[face], 6))[:_MAX_FACES]
    lines = [f"{video}: {end - frames[0][0]:.2f} s, faces: {len(seen)}"]
    for face in sorted(longest):
        shares = {emotion: seconds / seen[face] for emotion, seconds in durations[face].items()}
        order = sorted(shares, key=lambda emotion: -round(shares[emotion], 6))
        parts = [f"{name} {shares[name]:.0%}" for name in order if shares[name] >= 0.005]
        lines.append(f"face {face}, {seen[face]:.2f} s, share of time: {', '.join(parts)}")
    if len(seen) > _MAX_FACES:
        lines.append(f"more faces: {len(seen) - _MAX_FACES}")
    return lines
