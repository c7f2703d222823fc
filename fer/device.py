"""Where the work runs, and in which precision."""

import ctypes
import platform

import torch

from fer.errors import FerError

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of <malloc.h>


def pick_device(name: str) -> torch.device:
    """The device called `name`; "auto" is CUDA if there, else MPS, else CPU.

    Raises FerError where there is no such device.
    """
    there = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if name == "auto":
        name = next(device for device, available in there.items() if available)
    if not there[name]:
        raise FerError(
            f"train.device is {name}, but there is none on this machine; use auto or cpu"
        )
    return torch.device(name)


def pick_precision(name: str, device: torch.device) -> torch.dtype:
    """The dtype called `name`; "auto" is bfloat16 where `device` computes in it, else float32."""
    if name != "auto":
        return getattr(torch, name)
    fast = {
        "cuda": lambda: torch.cuda.is_bf16_supported(including_emulation=False),
        "cpu": lambda: torch.cpu.get_capabilities().get("avx512_bf16", False),
    }
    helps = device.type in fast and fast[device.type]()
    return torch.bfloat16 if helps else torch.float32


def keep_freed_memory() -> None:
    """Have glibc keep the memory that this process frees; elsewhere, nothing.

    By default it gives a training step's large buffers back to the system, whose pages are then
    made anew, and zeroed, in the next step.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_THRESHOLD, 32 << 20)  # the highest that glibc takes
        libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
