"""What the stages share: load the splits, train and log, fine-tune and score."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from fer.core import faces
from fer.core.errors import FerError
from fer.core.faces import Faces
from fer.core.params import Damage, Train
from fer.training import evaluation
from fer.training.device import shortage_as_fer_error
from fer.training.fit import fit
from fer.training.history import Row
from fer.training.networks import Network
from fer.training.qat import finetune
from fer.training.run import TrainingRun
from fer.training.wandb_log import Run

Track = Callable[[str, dict], AbstractContextManager[Run]]
"""From a run's name and configuration to a context manager that logs its epochs."""


@dataclass(frozen=True)
class Splits:
    """The faces for training and for selecting models.

    Epochs and models are selected on `val_unseen`, the val faces that are not in train.
    """

    train: Faces
    val: Faces
    val_unseen: Faces

    def counts(self) -> dict[str, int]:
        """Return the number of faces in each."""
        return {name: len(faces) for name, faces in vars(self).items()}


def load(folder: Path) -> Splits:
    """Load train and val of a folder in `data/`, and val without duplicates."""
    train, val = faces.load(folder / "train"), faces.load(folder / "val")
    val_unseen = val[~faces.is_in(val, train)]
    if not len(val_unseen):
        raise FerError(f"{folder}: every val face is also in train; add other val faces")
    return Splits(train, val, val_unseen)


def train(
    track: Track, name: str, run: TrainingRun, *, quiet: bool = False
) -> tuple[Network, list[Row]]:
    """Run `fit`, log each epoch as a run with a name, and resume if it was stopped before.

    Raises:
        FerError: If memory is short or a DataLoader worker dies.
        DivergedError: If the loss is no longer finite.
    """
    advice = f"train.batch_size is {run.config.train.batch_size}, try a smaller one"
    with (
        track(name, {"epochs": run.epochs} | run.config.model_dump()) as logged,
        shortage_as_fer_error(run.device, advice),
    ):
        return fit(run, on_epoch=logged.log, checkpoint=run.checkpoint, quiet=quiet)


def finetune_and_score(
    network: Network, options: Train, splits: Splits, damage: Damage
) -> tuple[Network, dict[str, float]]:
    """Return a trained network, fine-tuned for int8, and its scores on train and val."""
    device = next(network.parameters()).device
    remedy = "free some" if device.type == "cpu" else "free some, or set settings.device to cpu"
    advice = f"{remedy}; the same command goes on after the last epoch"
    with shortage_as_fer_error(device, advice):
        finetuned = finetune(network, splits.train, options)
        return finetuned, evaluation.score_splits(finetuned, splits.train, splits.val, damage)
