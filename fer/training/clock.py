"""Timers that wait for the device, because a GPU works on after a call returns."""

import itertools
import time
from collections import defaultdict

import torch


def synchronize(device: torch.device) -> None:
    """Wait until a device has finished its work."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


class PhaseTimer:
    """Stopwatch that splits the time of a loop among its parts.

    On CUDA it records events in the stream, so that timing does not make a step wait. Elsewhere it
    reads the clock after a synchronization.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.marks: list[tuple[str, float | torch.cuda.Event]] = []
        self.mark("")

    def mark(self, part: str) -> None:
        """Count the time since the last mark as time of a part."""
        if self.device.type == "cuda":
            mark = torch.cuda.Event(enable_timing=True)
            mark.record()
        else:
            synchronize(self.device)
            mark = time.perf_counter()
        self.marks.append((part, mark))

    def seconds(self) -> dict[str, float]:
        """Return the seconds of each part."""
        synchronize(self.device)
        totals: dict[str, float] = defaultdict(float)
        is_cuda = self.device.type == "cuda"
        for (_, start), (part, end) in itertools.pairwise(self.marks):
            totals[part] += start.elapsed_time(end) / 1000 if is_cuda else end - start
        return dict(totals)
