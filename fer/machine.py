"""The machine that figures were measured on."""

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
"""What decides how fast a processor computes, and how exactly in int8: x86's, then ARM's."""


def cores() -> int:
    """Number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def machine(device: "torch.device | None" = None) -> dict[str, str | int | list[str]]:
    """What the figures were measured on.

    device: where the work ran; the CPU by default
    """
    import torch  # here, as stage prepare does without: it takes some 200 MB

    gpu = torch.cuda.get_device_name(device) if device and device.type == "cuda" else None
    there = torch.cpu.get_capabilities()
    return {
        "cpu": cpu_name(),
        "features": [name for name in _FEATURES if there.get(name)],
        "cores": cores(),
        "threads": torch.get_num_threads(),
        "device": gpu or (device.type if device else "cpu"),
        "torch": torch.__version__,
    }


def cpu_name() -> str:
    """Name of the processor's model."""
    info = Path("/proc/cpuinfo")  # platform.processor() is empty on Linux
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
