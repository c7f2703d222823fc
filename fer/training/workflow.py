"""What the stages share: load the splits, train and log, fine-tune and score."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from fer.core import faces
from fer.core.errors import FerError
from fer.core.faces import Faces
from fer.core.params import Train
from fer.training import evaluation
from fer.training.device import out_of_memory_as_fer_error
from fer.training.fit import fit
from fer.training.history import Row
from fer.training.networks import Network
from fer.training.qat import finetune
from fer.training.run import TrainingRun
from fer.training.wandb_log import Run

Track = Callable[[str, dict], AbstractContextManager[Run]]
"""From a run's name and configuration to a context manager that logs its epochs."""

Result = tuple[Network, list[Row]]
"""A trained network and its history."""


@dataclass(frozen=True)
class Splits:
    """The faces for training and for selecting models.

    Attributes:
        train: The training split.
        val: The whole val split.
        val_unseen: The val faces that are not in train; epochs and models are selected on them.
    """

    train: Faces
    val: Faces
    val_unseen: Faces

    def counts(self) -> dict[str, int]:
        """Return the number of faces in each."""
        return {
            "train": len(self.train),
            "val": len(self.val),
            "val_unseen": len(self.val_unseen),
        }


def load(folder: Path) -> Splits:
    """Load train and val as stage prepare wrote them, and val without duplicates.

    Args:
        folder: The folder of the data set in `data/`.

    Raises:
        FerError: If a split is missing or damaged, or every val face is also in train.
    """
    train, val = faces.load(folder / "train"), faces.load(folder / "val")
    val_unseen = val[~faces.is_in(val, train)]
    if not len(val_unseen):
        raise FerError(f"{folder}: every val face is also in train; add other val faces")
    return Splits(train, val, val_unseen)


def train(track: Track, name: str, run: TrainingRun, *, quiet: bool = False) -> Result:
    """Run `fit`, log each epoch as a run with a name, and resume if it was stopped before.

    Returns:
        The network with the weights of its best epoch, and the history.

    Raises:
        FerError: If memory is short or a DataLoader worker dies.
        DivergedError: If the loss is no longer finite.
    """
    options = run.config.train
    advice = f"train.batch_size is {options.batch_size}, try a smaller one"
    with (
        track(name, {"epochs": run.epochs} | run.config.model_dump()) as logged,
        out_of_memory_as_fer_error(run.device, advice),
        _worker_errors_as_fer_error(options),
    ):
        return fit(
            run,
            on_epoch=lambda history: logged.log(history[-1]),
            checkpoint=run.checkpoint,
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
