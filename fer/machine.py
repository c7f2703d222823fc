"""Describe the machine on which numbers are measured."""

import os
import platform
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_FEATURES = (
    *("avx2", "avx_vnni", "avx512_f", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16"),
    *("neon", "dot", "i8mm", "bf16", "sve"),
)
"""Instructions that decide the speed, and the exactness of int8: those of x86, then of ARM."""


def cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def machine(device: "torch.device | None" = None) -> dict[str, str | int | list[str]]:
    """Return the processor, its features, cores and threads, the device and PyTorch's version.

    Args:
        device: Where the work ran; the CPU by default.
    """
    import torch  # not at the top: it takes 200 MB, which stage prepare does not need

    gpu = torch.cuda.get_device_name(device) if device and device.type == "cuda" else None
    capabilities = torch.cpu.get_capabilities()
    return {
        "cpu": cpu_name(),
        "features": [name for name in _FEATURES if capabilities.get(name)],
        "cores": cores(),
        "threads": torch.get_num_threads(),
        "device": gpu or (device.type if device else "cpu"),
        "torch": torch.__version__,
    }


def cpu_name() -> str:
    """Return the model name of the processor."""
    info = Path("/proc/cpuinfo")  # platform.processor() is empty on Linux
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
