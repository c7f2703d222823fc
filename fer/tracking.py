"""Weights & Biases: every run is logged, and no run fails because of it."""

import logging
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import wandb

from fer.params import home

logging.raiseExceptions = False  # of W&B's own log, where the disk is full: a page for each line


class Run:
    """A run that is logged until the first failure, which is told in a line."""

    def __init__(self) -> None:
        self._works = True

    def log(self, figures: Mapping[str, float]) -> None:
        """Log the figures of one step."""
        self._attempt(lambda: wandb.log(dict(figures)))

    def add_images(self, paths: Sequence[Path]) -> None:
        """Show pictures with the run."""
        self._attempt(lambda: wandb.log({p.stem: wandb.Image(str(p)) for p in paths}))

    def add_files(self, name: str, kind: str, paths: Sequence[Path]) -> None:
        """Keep files with the run, as an artifact such as ("fer2013", "model")."""

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
            print(f"warning: not tracked by W&B: {reason}", file=sys.stderr)


@contextmanager
def run(mode: str, name: str, config: Mapping[str, Any], group: str | None = None) -> Iterator[Run]:
    """A W&B run for the block.

    mode: "offline" (kept in `wandb/` of the repository, uploaded by `wandb sync`), "online" or
        "disabled"
    group: what W&B shows the run together with
    """
    tracked = Run()
    tracked._attempt(
        lambda: wandb.init(
            project="fer-pipeline",
            name=name,
            group=group,
            config=dict(config),
            mode=mode,
            dir=home(),
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
        yield tracked
    except Exception:  # not a stop by Ctrl-C: W&B notes by itself that the run broke off
        tracked._attempt(lambda: wandb.finish(exit_code=1))
        raise
    tracked._attempt(wandb.finish)
