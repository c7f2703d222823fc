"""Timers that wait for the device: a GPU works on after a call returns."""

import itertools
import time
from collections import defaultdict

import torch


def synchronize(device: torch.device) -> None:
    """Wait until `device` has done all it was given."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


class Laps:
    """Split the time of a loop among its parts.

    On CUDA the marks are events in the stream, so that timing makes no step wait for another;
    elsewhere they are the clock, after a synchronize.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.marks: list[tuple[str, float | torch.cuda.Event]] = []
        self.lap("")

    def lap(self, part: str) -> None:
        """Count what happened since the last lap as `part`."""
        if self.device.type == "cuda":
            mark = torch.cuda.Event(enable_timing=True)
            mark.record()
        else:
            synchronize(self.device)
            mark = time.perf_counter()
        self.marks.append((part, mark))

    def seconds(self) -> dict[str, float]:
        """Seconds of each part."""
        synchronize(self.device)
        totals: dict[str, float] = defaultdict(float)
        for (_, start), (part, end) in itertools.pairwise(self.marks):
            cuda = self.device.type == "cuda"
            totals[part] += start.elapsed_time(end) / 1000 if cuda else end - start
        return dict(totals)


def without_seconds(history: list[dict[str, float]]) -> list[dict[str, float]]:
    """What a training run came to, and will again: all but how long it took."""
    return [{k: v for k, v in row.items() if not k.startswith("seconds")} for row in history]


def seconds(history: list[dict[str, float]]) -> list[dict[str, float]]:
    """The epochs, and the seconds of each of their parts."""
    return [
        {k: v for k, v in row.items() if k == "epoch" or k.startswith("seconds")} for row in history
    ]
