"""A training run as stages and trials do it: from the prepared splits, and tracked."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from fer import faces
from fer.errors import FerError
from fer.faces import Faces
from fer.params import Recipe, Train
from fer.tracking import Run
from fer.training import evaluation
from fer.training.device import enough_memory
from fer.training.fit import Row, fit
from fer.training.initial import Weights
from fer.training.networks import Network
from fer.training.refining import refine

Track = Callable[[str, dict], AbstractContextManager[Run]]
"""From a run's name and configuration to a block in which its epochs are logged."""


@dataclass(frozen=True)
class Splits:
    """What is trained on, and what models are picked by.

    new: the faces of `val` that do not stand in `train` too
    """

    train: Faces
    val: Faces
    new: Faces

    def counts(self) -> dict[str, int]:
        """Number of faces in each."""
        return {"train": len(self.train), "val": len(self.val), "val_new": len(self.new)}


def load(folder: Path) -> Splits:
    """The splits that stage prepare wrote into `folder`.

    Raises FerError where one is missing or damaged, or no face of val is new.
    """
    train, val = faces.load(folder / "train"), faces.load(folder / "val")
    new = val[~faces.is_in(val, train)]
    if not len(new):
        raise FerError(f"{folder}: every val face stands in the training split too")
    return Splits(train, val, new)


def run(
    track: Track,
    name: str,
    recipe: Recipe,
    train: Faces,
    val: Faces,
    epochs: int,
    device: torch.device,
    *,
    checkpoint: Path | None,
    teacher: Network | None = None,
    init: Weights | None = None,
    quiet: bool = False,
) -> tuple[Network, list[Row]]:
    """What `fit` returns for the same arguments, each epoch logged in the run called `name`.

    Raises what `fit` does, and FerError where memory is short or a worker dies.
    """
    batch = f"train.batch_size is {recipe.train.batch_size}, try a smaller one"
    with (
        track(name, {"epochs": epochs} | recipe.model_dump()) as tracked,
        enough_memory(device, batch),
        _workers_told_in_a_line(recipe.train),
    ):
        return fit(
            recipe,
            train,
            val,
            epochs,
            device,
            on_epoch=lambda history: tracked.log(history[-1]),
            checkpoint=checkpoint,
            teacher=teacher,
            init=init,
            quiet=quiet,
        )


def finish(network: Network, options: Train, splits: Splits) -> tuple[Network, dict[str, float]]:
    """A trained network, refined, and what `fer.training.evaluation.val_scores` says of it.

    Raises FerError where memory is short.
    """
    device = next(network.parameters()).device
    way = "free some" if device.type == "cpu" else "free some, or set settings.device to cpu"
    with enough_memory(device, f"{way}; the same command goes on after the last epoch"):
        refined = refine(network, splits.train, options)
        return refined, evaluation.val_scores(refined, splits.train, splits.val)


@contextmanager
def _workers_told_in_a_line(options: Train) -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # PyTorch has no class of its own for it
        reason = str(error).partition("\n")[0]
        if not reason.startswith("DataLoader worker"):
            raise
        raise FerError(
            f"train.num_workers is {options.num_workers}: a worker died ({reason}); the same "
            "command goes on after the last finished epoch; if it happens again, use fewer"
        ) from error
