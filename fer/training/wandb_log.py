"""Log runs to Weights & Biases; its failures never end a run."""

import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import wandb

from fer.core.params import repository_root

logging.raiseExceptions = False  # on a full disk, W&B's own log would print a traceback per line


class Run:
    """A run that is logged until the first failure, which gives a warning of one line."""

    def __init__(self, enabled: bool) -> None:
        self._works = enabled

    def log(self, metrics: Mapping[str, float]) -> None:
        """Log the metrics of one step."""
        self._attempt(lambda: wandb.log(dict(metrics)))

    def add_images(self, paths: Sequence[Path]) -> None:
        """Log images, named by their files."""
        self._attempt(lambda: wandb.log({p.stem: wandb.Image(str(p)) for p in paths}))

    def add_files(self, name: str, kind: str, paths: Sequence[Path]) -> None:
        """Log files as an artifact of a kind, such as "model"."""

        def add() -> None:
            artifact = wandb.Artifact(name, kind)
            for path in paths:
                artifact.add_file(str(path))
            wandb.log_artifact(artifact)

        self._attempt(add)

    def _attempt(self, action: Callable[[], object]) -> None:
        if not self._works:
            return
        try:
            action()
        except Exception as error:  # whatever it is, it must not end a training run
            self._works = False
            reason = str(error).strip().partition("\n")[0]
            print(f"warning: W&B logs no more of this run: {reason}", file=sys.stderr)


@contextmanager
def run(mode: str, name: str, config: Mapping[str, Any], group: str | None = None) -> Iterator[Run]:
    """Log the block as a run of W&B.

    The mode is "offline" (kept in `wandb/` of the repository, uploaded by `wandb sync`), "online"
    or "disabled". The environment variable WANDB_MODE takes its place.
    """
    mode = os.environ.get("WANDB_MODE") or mode
    # W&B copies the files of artifacts there, by default into the home folder.
    root = repository_root().resolve()
    os.environ.setdefault("WANDB_DATA_DIR", str(root / "wandb"))
    logged = Run(enabled=mode != "disabled")
    logged._attempt(
        lambda: wandb.init(
            project="fer-pipeline",
            name=name,
            group=group,
            config=dict(config),
            mode=mode,
            dir=root,
            settings=wandb.Settings(
                silent=True,
                console="off",
                init_timeout=30,
                login_timeout=30,
                x_disable_stats=True,
            ),
        )
    )
    try:
        yield logged
    except Exception:  # not KeyboardInterrupt: W&B marks an interrupted run by itself
        logged._attempt(lambda: wandb.finish(exit_code=1))
        raise
    logged._attempt(wandb.finish)
