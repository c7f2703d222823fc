"""Log runs to Weights & Biases; its failures never end a run."""

import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import wandb

from fer.core.errors import FerError
from fer.core.params import repository_root

MODES = ("offline", "online", "disabled", "shared", "dryrun", "run")
"""The values of WANDB_MODE; the last two are W&B's old names of offline and online."""

logging.raiseExceptions = False  # on a full disk, W&B's own log would print a traceback per line


class Run:
    """A run that is logged until the first failure, which gives a warning of one line."""

    def __init__(self, enabled: bool) -> None:
        self._works = enabled

    def log(self, values: Mapping[str, float | Path]) -> None:
        """Log the values of one step: metrics, and the files of images."""
        self._attempt(
            lambda: wandb.log(
                {k: wandb.Image(str(v)) if isinstance(v, Path) else v for k, v in values.items()}
            )
        )

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
    if mode not in MODES:
        raise FerError(f"WANDB_MODE is {mode!r:.60}; set it to {', '.join(MODES)}, or unset it")

    def start() -> None:
        settings = {"silent": True, "console": "off", "init_timeout": 30, "login_timeout": 30}
        wandb.init(
            project="fer-pipeline",
            name=name,
            group=group,
            config=dict(config),
            mode=mode,
            dir=repository_root().resolve(),
            settings=wandb.Settings(**settings, x_disable_stats=True),
        )

    logged = Run(enabled=mode != "disabled")
    logged._attempt(start)
    try:
        yield logged
    except Exception:  # not KeyboardInterrupt: W&B marks an interrupted run by itself
        logged._attempt(lambda: wandb.finish(exit_code=1))
        raise
    logged._attempt(wandb.finish)
