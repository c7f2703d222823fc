"""A training run as stages and trials do it: from the prepared splits, and tracked."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import torch

from fer import faces
from fer.errors import FerError
from fer.faces import Faces
from fer.params import Recipe
from fer.tracking import Run
from fer.training.fit import Row, fit
from fer.training.networks import Network

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
    checkpoint: Path,
    teacher: Network | None = None,
    quiet: bool = False,
) -> tuple[Network, list[Row]]:
    """What `fit` returns for the same arguments, each epoch logged in the run called `name`.

    Raises what `fit` does.
    """
    with track(name, {"epochs": epochs} | recipe.model_dump()) as tracked:
        return fit(
            recipe,
            train,
            val,
            epochs,
            device,
            on_epoch=lambda history: tracked.log(history[-1]),
            checkpoint=checkpoint,
            teacher=teacher,
            quiet=quiet,
        )
