"""Train on the prepared splits and log each epoch, as the stages and the search do."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from fer import faces
from fer.errors import FerError
from fer.faces import Faces
from fer.params import Train, TrainingConfig
from fer.tracking import Run
from fer.training import evaluation
from fer.training.device import out_of_memory_as_fer_error
from fer.training.fit import Row, Teacher, fit
from fer.training.initial import Weights
from fer.training.networks import Network
from fer.training.qat import finetune

Track = Callable[[str, dict], AbstractContextManager[Run]]
"""From a run's name and configuration to a context manager that logs its epochs."""


@dataclass(frozen=True)
class Splits:
    """The faces for training and for selecting models.

    Attributes:
        train: The training split.
        val: The whole val split.
        val_unique: The val faces that are not in train; epochs and models are selected on them.
    """

    train: Faces
    val: Faces
    val_unique: Faces

    def counts(self) -> dict[str, int]:
        """Return the number of faces in each."""
        return {
            "train": len(self.train),
            "val": len(self.val),
            "val_unique": len(self.val_unique),
        }


def load(folder: Path) -> Splits:
    """Load train and val as stage prepare wrote them, and val without duplicates.

    Args:
        folder: The folder of the data set in `data/`.

    Raises:
        FerError: If a split is missing or damaged, or every val face is also in train.
    """
    train, val = faces.load(folder / "train"), faces.load(folder / "val")
    val_unique = val[~faces.is_in(val, train)]
    if not len(val_unique):
        raise FerError(f"{folder}: every val face is also in train; add other val faces")
    return Splits(train, val, val_unique)


def train(
    track: Track,
    name: str,
    config: TrainingConfig,
    train: Faces,
    val: Faces,
    epochs: int,
    device: torch.device,
    *,
    checkpoint: Path | None,
    teacher: Teacher | None = None,
    init: Weights | None = None,
    quiet: bool = False,
) -> tuple[Network, list[Row]]:
    """Run `fit` and log each epoch.

    Args:
        track: Starts the run that is logged.
        name: Name of that run.
        config: As in `fit`, like all other arguments.
        train: The faces to train on.
        val: The faces to select the best epoch on.
        epochs: Number of epochs.
        device: Where to train.
        checkpoint: File to resume from.
        teacher: The network to learn from, or its logits.
        init: Initial weights.
        quiet: Whether to show no progress.

    Returns:
        The network with the weights of its best epoch, and the history.

    Raises:
        FerError: If memory is short or a DataLoader worker dies.
        DivergedError: If the loss is no longer finite.
    """
    advice = f"train.batch_size is {config.train.batch_size}, try a smaller one"
    with (
        track(name, {"epochs": epochs} | config.model_dump()) as run,
        out_of_memory_as_fer_error(device, advice),
        _worker_errors_as_fer_error(config.train),
    ):
        return fit(
            config,
            train,
            val,
            epochs,
            device,
            on_epoch=lambda history: run.log(history[-1]),
            checkpoint=checkpoint,
            teacher=teacher,
            init=init,
            quiet=quiet,
        )


def finetune_and_score(
    network: Network, options: Train, splits: Splits
) -> tuple[Network, dict[str, float]]:
    """Fine-tune a trained network for int8 and score it on train and val.

    Args:
        network: The trained network.
        options: How to fine-tune, as in `fer.training.qat.finetune`.
        splits: The faces.

    Returns:
        The fine-tuned network, and its scores from `fer.training.evaluation.score_splits`.

    Raises:
        FerError: If memory is short.
    """
    device = next(network.parameters()).device
    remedy = "free some" if device.type == "cpu" else "free some, or set settings.device to cpu"
    advice = f"{remedy}; the same command goes on after the last epoch"
    with out_of_memory_as_fer_error(device, advice):
        finetuned = finetune(network, splits.train, options)
        return finetuned, evaluation.score_splits(finetuned, splits.train, splits.val)


@contextmanager
def _worker_errors_as_fer_error(options: Train) -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # PyTorch has no class for the error of a dead worker
        reason = str(error).partition("\n")[0]
        if not reason.startswith("DataLoader worker"):
            raise
        raise FerError(
            f"train.num_workers is {options.num_workers}: a worker died ({reason}); the same "
            "command goes on after the last finished epoch; if it happens again, use fewer"
        ) from error
