"""What a network says of faces, and how right it is on train and val."""

import numpy as np
import torch
import torch.nn.functional as F

from fer.faces import INPUT_SIZE, Faces, is_in
from fer.training.augmentation import center_crop


@torch.inference_mode()
def logits(
    network: torch.nn.Module,
    images: torch.Tensor,
    *,
    size: int = INPUT_SIZE,
    batch_size: int = 256,
) -> torch.Tensor:
    """Logits float32 [N, C], on the CPU, of faces uint8 [N, 48, 48], computed in float32.

    On a GPU in what PyTorch takes for that, TF32: another answer for a face in thousands.

    size: of what the network gets, in pixels
    """
    network.eval()
    device = next(network.parameters()).device
    batches = images.split(batch_size)
    return torch.cat([network(center_crop(batch.to(device), size)).cpu() for batch in batches])


def probabilities(network: torch.nn.Module, images: np.ndarray) -> np.ndarray:
    """Probabilities float32 [N, C] of faces uint8 [N, 48, 48]."""
    return logits(network, torch.tensor(images)).softmax(1).numpy()


def loss_and_accuracy(output: torch.Tensor, labels: torch.Tensor) -> tuple[float, float]:
    """Mean cross-entropy in nats, and accuracy 0 to 1, of logits [N, C] for labels int64 [N]."""
    loss = F.cross_entropy(output, labels).item()
    return loss, (output.argmax(1) == labels).double().mean().item()


def val_scores(network: torch.nn.Module, train: Faces, val: Faces) -> dict[str, float]:
    """Losses (nats) and accuracies (0 to 1) on both splits, their faces as they are.

    So that recipes can be compared: what `fit` says of the training split depends on the recipe's
    augmentation and label smoothing. `val_new_accuracy` is of the val faces that do not stand in
    the training split too: what models are picked by.
    """
    found = {}
    for split, faces in (("train", train), ("val", val)):
        output = logits(network, torch.tensor(faces.images))
        loss, accuracy = loss_and_accuracy(output, torch.tensor(faces.labels, dtype=torch.int64))
        found |= {f"{split}_loss": round(loss, 6), f"{split}_accuracy": round(accuracy, 6)}
    new = ~is_in(val, train)
    right = output.argmax(1).numpy() == val.labels
    return found | {"val_new_accuracy": round(float(right[new].mean()), 6)}
