"""Predict with a network in PyTorch, and score it on train and val."""

import numpy as np
import torch
import torch.nn.functional as F

from fer.core.faces import INPUT_SIZE, Faces, is_in
from fer.core.params import Damage
from fer.training.augmentation import center_crop
from fer.training.robustness import damaged_in_turn


@torch.inference_mode()
def predict_logits(
    network: torch.nn.Module, images: torch.Tensor, size: int = INPUT_SIZE
) -> torch.Tensor:
    """Compute the logits, float32 [N, C] on the CPU, of faces, uint8 [N, 48, 48].

    The network is put into evaluation mode; `size` is the side of its input in pixels. A GPU uses
    TF32, which changes the predicted class of about one face in thousands.
    """
    network.eval()
    device = next(network.parameters()).device
    batches = (center_crop(batch.to(device), size) for batch in images.split(256))
    return torch.cat([network(batch).cpu() for batch in batches])


def predict_probabilities(network: torch.nn.Module, images: np.ndarray) -> np.ndarray:
    """Compute the class probabilities, float32 [N, C], of faces, uint8 [N, 48, 48]."""
    return predict_logits(network, torch.tensor(images)).softmax(1).numpy()


def loss_and_accuracy(
    network: torch.nn.Module, faces: Faces, size: int = INPUT_SIZE
) -> dict[str, float]:
    """Return the mean cross-entropy in nats as "loss", and the "accuracy", 0 to 1."""
    logits = predict_logits(network, torch.tensor(faces.images), size)
    labels = torch.tensor(faces.labels, dtype=torch.int64)
    accuracy = (logits.argmax(1) == labels).double().mean().item()
    return {"loss": F.cross_entropy(logits, labels).item(), "accuracy": accuracy}


def score_splits(
    network: torch.nn.Module, train: Faces, val: Faces, damage: Damage
) -> dict[str, float]:
    """Return losses (nats) and accuracies (0 to 1) on train and val, without augmentation.

    These scores are comparable between configurations. The train scores in the history of `fit`
    depend on augmentation and label smoothing. "val_unseen_accuracy" is the accuracy on the val
    faces that are not in train, "val_damaged_accuracy" that on a damaged copy of these. Models are
    selected by the mean of both.
    """
    unseen = val[~is_in(val, train)]
    splits = {"train": train, "val": val, "val_unseen": unseen}
    splits["val_damaged"] = damaged_in_turn(unseen, damage)
    return {
        f"{split}_{name}": round(value, 6)
        for split, faces in splits.items()
        for name, value in loss_and_accuracy(network, faces).items()
    }
