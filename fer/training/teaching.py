"""What a teacher says of the training faces, for a smaller network to learn from."""

import torch
from torch.utils.data import DataLoader
from tqdm import tqdm

from fer.faces import INPUT_SIZE
from fer.training.networks import Network


@torch.inference_mode()
def ask(
    teacher: Network, batches: DataLoader, views: int, precision: torch.dtype, quiet: bool
) -> list[torch.Tensor]:
    """What `teacher` says of the first `views` epochs of `batches`, at full size.

    Logits float16 [N, C] of each epoch, in the order of its batches. The student sees the same
    views, maybe smaller (Beyer et al. 2021, arXiv:2106.05237), and the same again after so many
    epochs: asking anew in each would cost more than its own training.
    """
    device = next(teacher.parameters()).device
    batches.sampler.size = INPUT_SIZE
    words = []
    with tqdm(
        total=views * len(batches),
        desc="asking the teacher",
        unit="step",
        disable=True if quiet else None,
    ) as bar:
        for batches.sampler.epoch in range(views):
            said = []
            for images, _ in batches:
                with torch.autocast(device.type, precision, enabled=precision != torch.float32):
                    said.append(teacher(images.to(device)).half().cpu())
                bar.update()
            words.append(torch.cat(said))
            if bar.disable and not quiet:
                print(f"asked the teacher: {len(words)} of {views} views", flush=True)
    return words
