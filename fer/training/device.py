"""Choose the device and the precision, describe them, and set up memory and determinism."""

import ctypes
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from fer.core.errors import FerError
from fer.core.machine import cores, cpu_name

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""Options of `mallopt`, from <malloc.h>."""

_FEATURES = (
    *("avx2", "avx_vnni", "avx512_f", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16"),
    *("neon", "dot", "i8mm", "bf16", "sve"),
)
"""Instructions that decide the speed, and the exactness of int8: those of x86, then of ARM."""


def pick_device(name: str) -> torch.device:
    """Return the device "cpu", "cuda:1", ...; "auto" is CUDA, else MPS, else CPU.

    A GPU with a number becomes PyTorch's current one, as CUDA graphs need.
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
        raise FerError(f"settings.device is {name}, but this machine has none; use auto or cpu")
    if device.index is not None:
        torch.cuda.set_device(device)
    return device


def pick_precision(name: str, device: torch.device) -> torch.dtype:
    """Return bfloat16 or float32; "auto" is bfloat16 where the device has hardware for it."""
    if name != "auto":
        return getattr(torch, name)
    if device.type == "cuda":
        is_fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        supported = torch.cpu.get_capabilities().get("avx512_bf16", False)
        # ATEN_CPU_CAPABILITY may restrict PyTorch to fewer kernels than the processor supports.
        used = torch.backends.cpu.get_cpu_capability() == "AVX512"
        is_fast = device.type == "cpu" and supported and used
    return torch.bfloat16 if is_fast else torch.float32


def machine(device: torch.device | None = None) -> dict[str, str | int | list[str]]:
    """Return the processor, its features, cores and threads, the device and PyTorch's version."""
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


def keep_freed_memory() -> None:
    """Make glibc keep the memory that this process frees; does nothing with another libc.

    By default glibc returns the large buffers of a training step to the system. The next step then
    waits for new, zeroed pages.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_THRESHOLD, 32 << 20)  # the largest value that glibc accepts
        libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def set_deterministic(enabled: bool) -> None:
    """Choose whether a GPU computes the same bits in each run; a CPU does so in any case."""
    # cuBLAS reads this once at its start, so it must be there for a later training too.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    if enabled != torch.are_deterministic_algorithms_enabled():  # the call imports for 2 seconds
        torch.use_deterministic_algorithms(enabled)
    torch.utils.deterministic.fill_uninitialized_memory = False  # no code here reads such memory


@contextmanager
def shortage_as_fer_error(device: torch.device, advice: str) -> Iterator[None]:
    """Turn an error of the block into a FerError if memory is short or a DataLoader worker died."""
    try:
        yield
    except RuntimeError as error:  # PyTorch has no common class for these errors
        reason = str(error).partition("\n")[0]
        if reason.startswith("DataLoader worker"):
            raise FerError(
                f"train.num_workers: a worker died ({reason}); the same command goes on after the "
                "last finished epoch; if it happens again, use fewer"
            ) from error
        # The phrases of the CPU, of CUDA, of cuBLAS and of cuDNN.
        phrases = ("can't allocate memory", "out of memory", "ALLOC_FAILED", "ALLOCATION_FAILED")
        if any(phrase in reason for phrase in phrases):
            raise FerError(f"{device}: too little memory; {advice}") from error
        raise
