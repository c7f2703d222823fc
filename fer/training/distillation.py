"""Compute the teacher's logits on augmented training faces, for distillation."""

import torch
from torch.utils.data import DataLoader

from fer.core.faces import INPUT_SIZE
from fer.training.loading import progress_bar
from fer.training.networks import Network


@torch.inference_mode()
def predict_teacher_logits(
    teacher: Network, batches: DataLoader, views: int, precision: torch.dtype, quiet: bool
) -> list[torch.Tensor]:
    """Compute the teacher's logits for the first epochs of a data loader, at full size.

    The student sees the same augmented faces, maybe smaller (Beyer et al. 2021, arXiv:2106.05237),
    and sees them again every `views` epochs. New logits for each epoch would take longer than the
    training of the student.

    Returns:
        Logits float16 [N, C] of each epoch, on the CPU, in the order of its batches.
    """
    device = next(teacher.parameters()).device
    batches.sampler.size = INPUT_SIZE
    logits = []
    for batches.sampler.epoch in range(views):
        epoch_logits = []
        for images, _ in progress_bar(batches, "teacher's logits", quiet):
            with torch.autocast(device.type, precision, enabled=precision != torch.float32):
                epoch_logits.append(teacher(images.to(device)).half().cpu())
        logits.append(torch.cat(epoch_logits))
        if not quiet:
            print(f"teacher's logits: {len(logits)} of {views} views", flush=True)
    return logits
