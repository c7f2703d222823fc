"""The state of a training after each epoch, from which a stopped one resumes."""

import copy
from pathlib import Path
from typing import Any

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from fer.core.errors import FerError
from fer.training import distributed, model_file
from fer.training.history import Row, best_epoch
from fer.training.networks import Network


class TrainingState:
    """All that a run needs to resume with the same result.

    Its parts are the network, the optimizer, the schedule and the network that is validated and
    kept: the moving average, or the trained one again. The state of a run with another key is not
    used.
    """

    def __init__(self, key: str, **parts: Network | Optimizer | LRScheduler) -> None:
        self.key, self.parts = key, parts
        self.device = next(parts["network"].parameters()).device.type
        # Dropout draws from the generator of the device.
        self.random = torch if self.device == "cpu" else torch.get_device_module(self.device)
        self.history: list[Row] = []
        self.best: dict[str, torch.Tensor] = {}

    def add(self, row: Row) -> None:
        """Add an epoch to the history, and keep its weights if it is the best so far."""
        self.history.append(row)
        if best_epoch(self.history) is row:
            self.best = copy.deepcopy(self.parts["average"].state_dict())

    def save(self, path: Path) -> None:
        """Write the state; the caller removes the file after the training."""
        content = {name: part.state_dict() for name, part in self.parts.items()}
        content["random"] = {self.device: self.random.get_rng_state()}
        content |= {"key": self.key, "history": self.history, "best": self.best}
        model_file.write(path, content)

    def resume(self, path: Path) -> None:
        """Take the state in a file, if there is one of this run."""
        saved = distributed.broadcast(self._read(path) if distributed.is_main_process() else None)
        if saved is None:
            return
        for name, part in self.parts.items():
            part.load_state_dict(saved[name])
        if self.device in saved["random"]:  # another kind of device draws differently
            self.random.set_rng_state(saved["random"][self.device])
        self.history, self.best = saved["history"], saved["best"]
        if distributed.is_main_process():
            print(f"going on after epoch {len(self.history)}", flush=True)

    def _read(self, path: Path) -> dict[str, Any] | None:
        if not path.exists():
            return None
        try:
            saved = model_file.read(path)
        except FerError as error:
            print(f"{error.args[0].partition(';')[0]}: training starts anew", flush=True)
            return None
        # A checkpoint of other code, params or data is of no use.
        return saved if saved.get("key") == self.key else None
