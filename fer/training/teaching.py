"""What a teacher says of the training faces, for a smaller network to learn from."""

import torch
from tqdm import tqdm

from fer.faces import INPUT_SIZE, Faces
from fer.params import Train
from fer.training.device import pick_precision
from fer.training.loading import Batches
from fer.training.networks import Network

_BATCH = 256


@torch.inference_mode()
def words(
    teacher: Network, faces: Faces, options: Train, device: torch.device, *, quiet: bool = False
) -> torch.Tensor:
    """Logits float16 [V, N, 7] of `teacher`, on `device`, of the first V views of each face.

    The student sees the same views (Beyer et al. 2021, arXiv:2106.05237), of which there are
    `options.distill.views`: asking anew in each epoch would cost more than the student's training.
    """
    precision = pick_precision(options.precision, device)
    batches = Batches(faces, options.augment, options.seed, device)
    views = options.distill.views
    indices = torch.arange(len(faces)).split(_BATCH)
    said = []
    with tqdm(total=views * len(indices), desc="asking the teacher", disable=quiet or None) as bar:
        for view in range(views):
            for some in indices:
                images, _ = batches[some, view, INPUT_SIZE]
                with torch.autocast(device.type, precision, enabled=precision != torch.float32):
                    said.append(teacher(images).half().cpu())
                bar.update()
    return torch.cat(said).view(views, len(faces), -1)
