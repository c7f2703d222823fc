"""Distributed training: each process of torchrun computes an equal part of every batch.

The environment variables of torchrun describe the processes. With a single process, all functions
here do nothing.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from fer.core.errors import FerError
from fer.training.device import pick_device

T = TypeVar("T")


@contextmanager
def process_group(name: str) -> Iterator[torch.device]:
    """Join the processes of torchrun for the block, and yield the device of this process."""
    device = pick_device(name)
    if not _launched_by_torchrun():
        yield device
        return
    if device.type != "cpu":
        device = _own_gpu(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield device
    finally:
        dist.destroy_process_group()


def require_single_process(stage: str) -> None:
    """Raise a FerError if torchrun started several processes for a stage that needs one."""
    if _launched_by_torchrun():
        raise FerError(
            f"torchrun: stages.{stage} runs in one process only; run `dvc repro {stage}`"
        )


def _launched_by_torchrun() -> bool:
    return dist.is_torchelastic_launched() and int(os.environ["WORLD_SIZE"]) > 1


def _own_gpu(device: torch.device) -> torch.device:
    processes, gpus = int(os.environ["LOCAL_WORLD_SIZE"]), torch.cuda.device_count()
    if device.type != "cuda" or device.index is not None or processes > gpus:
        raise FerError(
            f"torchrun: {processes} processes need a GPU each, but settings.device is {device} on "
            f"a machine with {gpus} GPUs; start fewer processes, or set settings.device to cpu"
        )
    return pick_device(f"cuda:{os.environ['LOCAL_RANK']}")


def is_distributed() -> bool:
    """Return whether this process is one of several."""
    return dist.is_initialized()


def is_main_process() -> bool:
    """Return whether this process is the one that writes files, logs and prints."""
    return rank() == 0


def rank() -> int:
    """Return the number of this process, from 0."""
    return dist.get_rank() if is_distributed() else 0


def processes() -> int:
    """Return the number of processes."""
    return dist.get_world_size() if is_distributed() else 1


def broadcast(value: T) -> T:
    """Return the value of the first process in all processes; it is pickled."""
    values = [value]
    if is_distributed():
        dist.broadcast_object_list(values)
    return values[0]


def mean(values: torch.Tensor) -> torch.Tensor:
    """Return the mean over all processes, without gradient."""
    if is_distributed():
        dist.all_reduce(values)
    return values / processes()


def wrap(network: nn.Module, device: torch.device) -> nn.Module:
    """Return the module to train in place of a network: its gradients are means over processes.

    On GPUs the statistics of BatchNorm are those of all processes, on a CPU those of each.
    """
    if not is_distributed():
        return network
    if device.type == "cpu":
        return DistributedDataParallel(network)
    return DistributedDataParallel(
        nn.SyncBatchNorm.convert_sync_batchnorm(network), device_ids=[device]
    )
