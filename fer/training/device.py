"""Where the work runs, and in which precision."""

import ctypes
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from fer.errors import FerError

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of <malloc.h>


def pick_device(name: str) -> torch.device:
    """The device called `name`, such as "cpu" or "cuda:1"; "auto" is CUDA, else MPS, else CPU.

    A GPU that is named by its number becomes PyTorch's current one: CUDA graphs and events are of
    that one.

    Raises FerError where there is no such device.
    """
    counts = {
        "cuda": torch.cuda.device_count(),
        "mps": int(torch.backends.mps.is_available()),
        "cpu": 1,
    }
    if name == "auto":
        name = next(kind for kind, count in counts.items() if count)
    device = torch.device(name)
    if (device.index or 0) >= counts[device.type]:
        raise FerError(
            f"settings.device is {name}, but there is none on this machine; use auto or cpu"
        )
    if device.index is not None:
        torch.cuda.set_device(device)
    return device


def pick_precision(name: str, device: torch.device) -> torch.dtype:
    """The dtype called `name`; "auto" is bfloat16 where `device` computes in it, else float32."""
    if name != "auto":
        return getattr(torch, name)
    fast = {
        "cuda": lambda: torch.cuda.is_bf16_supported(including_emulation=False),
        "cpu": _has_fast_bfloat16,
    }
    helps = device.type in fast and fast[device.type]()
    return torch.bfloat16 if helps else torch.float32


def _has_fast_bfloat16() -> bool:
    # Of the processor, and of the kernels that PyTorch may use: ATEN_CPU_CAPABILITY can say less.
    there = torch.cpu.get_capabilities().get("avx512_bf16", False)
    return there and torch.backends.cpu.get_cpu_capability() == "AVX512"


def keep_freed_memory() -> None:
    """Have glibc keep the memory that this process frees; elsewhere, nothing.

    By default it gives a training step's large buffers back to the system, whose pages are then
    made anew, and zeroed, in the next step.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_THRESHOLD, 32 << 20)  # the highest that glibc takes
        libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def be_deterministic(wanted: bool) -> None:
    """From now on, compute the same bits each time on one GPU, or whatever is fastest.

    On a CPU, PyTorch computes the same each time in any case. On a GPU, where `wanted`, an
    operation with no such algorithm raises RuntimeError, which names it: none in our networks.
    """
    # cuBLAS reads it once, as it starts: for a later training in this process as well.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(wanted)
    torch.utils.deterministic.fill_uninitialized_memory = False  # of which nothing here reads


@contextmanager
def enough_memory(device: torch.device, advice: str) -> Iterator[None]:
    """Raise FerError, with `advice`, where `device` has not the memory for what the block does."""
    try:
        yield
    except RuntimeError as error:  # PyTorch has no class of its own for most of it
        reason = str(error).partition("\n")[0]
        # Of the CPU; of CUDA; of cuBLAS and its like; of cuDNN.
        signs = ("can't allocate memory", "out of memory", "ALLOC_FAILED", "ALLOCATION_FAILED")
        if not any(sign in reason for sign in signs):
            raise
        raise FerError(f"{device} has not the memory for it: {advice}") from error
