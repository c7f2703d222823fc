"""Weights & Biases: every run is logged, and no run fails because of it."""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import wandb

Log = Callable[[Mapping[str, float]], None]


@contextmanager
def run(mode: str, name: str, config: Mapping[str, Any], group: str | None = None) -> Iterator[Log]:
    """A W&B run for the block; yields what logs one step's figures.

    mode: "offline" (kept in `wandb/`, uploaded by `wandb sync`), "online" or "disabled"
    group: what W&B shows the run together with
    """
    tracker = _Tracker()
    tracker.attempt(
        lambda: wandb.init(
            project="fer-pipeline",
            name=name,
            group=group,
            config=dict(config),
            mode=mode,
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
        yield lambda figures: tracker.attempt(lambda: wandb.log(dict(figures)))
    except BaseException:
        tracker.attempt(lambda: wandb.finish(exit_code=1))
        raise
    tracker.attempt(wandb.finish)


class _Tracker:
    """Does what it is given until the first failure, which it reports in a line."""

    def __init__(self) -> None:
        self.works = True

    def attempt(self, action: Callable[[], object]) -> None:
        if not self.works:
            return
        try:
            action()
        except Exception as error:  # whatever it is, it must not end a training run
            self.works = False
            reason = str(error).strip().partition("\n")[0]
            print(f"warning: not tracked by W&B: {reason}", file=sys.stderr)
