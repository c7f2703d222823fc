"""Timers that wait for the device, and what machine they ran on."""

import itertools
import os
import platform
import time
from collections import defaultdict
from pathlib import Path

import torch

_FEATURES = (
    *("avx2", "avx_vnni", "avx512_f", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16"),
    *("neon", "dot", "i8mm", "bf16", "sve"),
)
"""What decides how fast a processor computes, and how exactly in int8: x86's, then ARM's."""


def synchronize(device: torch.device) -> None:
    """Wait until `device` has done all it was given: a GPU works on after a call returns."""
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


def cpu_features() -> list[str]:
    """Those of `_FEATURES` that the processor has."""
    there = torch.cpu.get_capabilities()
    return [name for name in _FEATURES if there.get(name)]


def machine(device: torch.device) -> dict[str, str | int | list[str]]:
    """What the figures were measured on."""
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return {
        "cpu": _cpu_name(),
        "features": cpu_features(),
        "cores": os.cpu_count() or 1,
        "threads": torch.get_num_threads(),
        "device": gpu,
        "torch": torch.__version__,
    }


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")  # platform.processor() is empty on Linux
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
