"""A training run: all that its result depends on, and the key under which it resumes."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from fer.core.faces import Faces
from fer.core.params import Damage, TrainingConfig, repository_root
from fer.training import distributed
from fer.training.model_file import Weights
from fer.training.networks import Network
from fer.training.robustness import damaged_in_turn


@dataclass(frozen=True)
class TrainingRun:
    """What `fer.training.fit.fit` trains: the best epoch on `val` of a network trained on `train`.

    The network learns from `teacher` as `config.train.distill` says. It starts from the weights
    `init`, or from random ones. If there is `damage`, epochs are scored by the mean accuracy on
    `val` and on a damaged copy of it.
    """

    config: TrainingConfig
    train: Faces
    val: Faces
    epochs: int
    device: torch.device
    teacher: Network | None = None
    init: Weights | None = None
    damage: Damage | None = None

    @cached_property
    def val_damaged(self) -> Faces | None:
        """The damaged copy of `val`."""
        return damaged_in_turn(self.val, self.damage) if self.damage else None

    @cached_property
    def key(self) -> str:
        """A digest of all that the result depends on, except the machine: config, data, code."""
        # The number of workers changes only the time; fine-tuning starts from the trained network.
        ignored = {"num_workers": 0, "qat_epochs": 0}
        options = self.config.train.model_copy(update=ignored)
        # The number of processes changes the batches.
        values = self.config.model, options, self.epochs, self.damage, distributed.processes()
        digest = hashlib.sha256(repr(values).encode())
        folder = Path(__file__).parent
        for path in (folder.parent / "core" / "faces.py", *sorted(folder.rglob("*.py"))):
            digest.update(path.read_bytes())
        for faces in (self.train, self.val):
            for part in (faces.images, faces.targets(), np.array(faces.classes)):
                digest.update(part.tobytes())
        for weights in (self.teacher.state_dict() if self.teacher else {}, self.init or {}):
            digest.update(repr(list(weights)).encode())
            for tensor in weights.values():
                digest.update(tensor.cpu().numpy().tobytes())
        return digest.hexdigest()

    @property
    def checkpoint(self) -> Path:
        """The file in `.checkpoints/` of the repository from which the run resumes."""
        return repository_root() / ".checkpoints" / f"{self.key[:16]}.ckpt"
