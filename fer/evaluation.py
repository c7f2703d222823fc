"""From a model's logits to figures."""

import numpy as np
import torch
import torch.nn.functional as F
from scipy.stats import binomtest
from sklearn.metrics import balanced_accuracy_score, f1_score, precision_recall_fscore_support

from fer.augment import center_crop
from fer.faces import CLASSES, INPUT_SIZE


@torch.inference_mode()
def logits(
    model: torch.nn.Module,
    images: torch.Tensor,
    *,
    flip: bool = False,
    size: int = INPUT_SIZE,
    batch_size: int = 256,
) -> torch.Tensor:
    """Logits float32 [N, 7], on the CPU, of faces uint8 [N, 48, 48], in float32.

    flip: the mean of the logits of each face and of its mirror image
    size: of what the model gets, in pixels
    """
    model.eval()
    device = next(model.parameters()).device
    found = []
    for batch in images.split(batch_size):
        inputs = center_crop(batch.to(device), size)
        output = model(inputs)
        if flip:
            output = (output + model(inputs.flip(-1))) / 2
        found.append(output)
    return torch.cat(found).cpu()


def loss_and_accuracy(output: torch.Tensor, labels: torch.Tensor) -> tuple[float, float]:
    """Mean cross-entropy in nats, and accuracy 0 to 1, of logits [N, 7] for labels int64 [N]."""
    loss = F.cross_entropy(output, labels).item()
    return loss, (output.argmax(1) == labels).double().mean().item()


def calibration_error(probabilities: np.ndarray, labels: np.ndarray, bins: int) -> float:
    """Expected calibration error, 0 to 1 (Guo et al. 2017, arXiv:1706.04599).

    The mean distance between confidence and accuracy over `bins` bins of equal width.
    probabilities: [N, classes], labels: [N]
    """
    confidence = probabilities.max(1)
    right = probabilities.argmax(1) == labels
    which = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = np.bincount(which, weights=right - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(labels))


def scores(output: torch.Tensor, labels: np.ndarray, bins: int) -> dict[str, float]:
    """Accuracy, balanced accuracy, macro F1 and calibration error, each 0 to 1.

    output: logits [N, 7], labels: [N], bins: of the calibration error
    """
    predicted = output.argmax(1).numpy()
    probabilities = output.double().softmax(1).numpy()
    return {
        "accuracy": float((predicted == labels).mean()),
        "balanced_accuracy": float(balanced_accuracy_score(labels, predicted)),
        "macro_f1": float(f1_score(labels, predicted, average="macro", zero_division=0)),
        "calibration_error": calibration_error(probabilities, labels, bins),
    }


def per_class(output: torch.Tensor, labels: np.ndarray) -> list[dict[str, str | float | int]]:
    """Precision, recall and F1 (0 to 1) and support (faces) of each class, a row each."""
    table = precision_recall_fscore_support(
        labels, output.argmax(1).numpy(), labels=range(len(CLASSES)), zero_division=0
    )
    return [
        {
            "class": name,
            "precision": float(precision),
            "recall": float(recall),
            "f1": float(f1),
            "support": int(support),
        }
        for name, precision, recall, f1, support in zip(CLASSES, *table, strict=True)
    ]


def mcnemar(first: np.ndarray, second: np.ndarray) -> dict[str, float | int]:
    """Whether two models that judge the same faces differ by more than chance.

    first, second: bool [N], whether the model was right

    Returns the faces that only the one or the other got right, and the p-value of McNemar's exact
    test (McNemar 1947, doi:10.1007/BF02295996).
    """
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    differ = only_first + only_second
    p_value = binomtest(only_first, differ).pvalue if differ else 1.0
    return {"only_first": only_first, "only_second": only_second, "p_value": float(p_value)}
