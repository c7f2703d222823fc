"""A training run: all that its result depends on, and the key under which it resumes."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch

from fer.core.faces import Faces
from fer.core.params import TrainingConfig, repository_root
from fer.training.initial import Weights
from fer.training.networks import Network

Teacher = Network | list[torch.Tensor]
"""A trained network, or its logits on the training faces from `predict_teacher_logits`."""


@dataclass(frozen=True)
class TrainingRun:
    """What `fer.training.fit.fit` trains.

    Attributes:
        config: The network and how it is trained.
        train: The faces to train on.
        val: The faces to select the best epoch on.
        epochs: Number of epochs.
        device: Where to train.
        teacher: What to learn from, as `config.train.distill` says.
        init: Initial weights, from `fer.training.initial.load`; None for random ones.
    """

    config: TrainingConfig
    train: Faces
    val: Faces
    epochs: int
    device: torch.device
    teacher: Teacher | None = None
    init: Weights | None = None

    @cached_property
    def key(self) -> str:
        """A digest of all that the result depends on, except the machine: config, data, code."""
        is_network = isinstance(self.teacher, Network)
        teacher = self.teacher.state_dict() if is_network else dict(enumerate(self.teacher or []))
        weights = [_digest(tensors) for tensors in (teacher, self.init or {})]
        return fingerprint(self.config, self.train, self.val, self.epochs, *weights)

    @property
    def checkpoint(self) -> Path:
        """The file in `.checkpoints/` of the repository from which the run resumes."""
        return repository_root() / ".checkpoints" / f"{self.key[:16]}.ckpt"


def fingerprint(config: TrainingConfig, train: Faces, val: Faces, *dependencies: object) -> str:
    """Return a digest of configuration, faces, code and the `repr` of further dependencies."""
    # The number of workers changes only the time, and fine-tuning starts from the finished network.
    options = config.train.model_copy(update={"num_workers": 0, "qat_epochs": 0})
    digest = hashlib.sha256(f"{config.model!r} {options!r} {dependencies!r}".encode())
    folder = Path(__file__).parent
    for path in (folder.parent / "core" / "faces.py", *sorted(folder.rglob("*.py"))):
        digest.update(path.read_bytes())
    for faces in (train, val):
        digest.update(faces.images.tobytes())
        digest.update(faces.targets().tobytes())
        digest.update(repr(faces.classes).encode())
    return digest.hexdigest()


def _digest(tensors: dict) -> str:
    digest = hashlib.sha256()
    for name, tensor in tensors.items():
        digest.update(str(name).encode())
        digest.update(tensor.cpu().numpy().tobytes())
    return digest.hexdigest()
