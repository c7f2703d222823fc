"""The cores and the processor of this machine."""

import math
import os
import platform
from contextlib import suppress
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")


def cores() -> int:
    """Return the number of cores that this process may use, at least 1.

    The affinity of the process counts, and the CPU quota of its container, rounded up.
    """
    if hasattr(os, "sched_getaffinity"):
        count = len(os.sched_getaffinity(0))
    else:
        count = os.cpu_count() or 1
    return min(count, _quota() or count)


def _quota() -> int | None:
    """Return the CPU quota of this container in cores (cgroup v2 or v1); None without one."""
    for files in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        with suppress(OSError, ValueError):  # no such file, or "max" in place of a number
            texts = [(_CGROUP / file).read_text() for file in files]
            quota, period = map(int, " ".join(texts).split())
            if quota > 0:
                return max(1, math.ceil(quota / period))
    return None


def cpu_name() -> str:
    """Return the model name of the processor."""
    info = Path("/proc/cpuinfo")  # platform.processor() is empty on Linux
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
