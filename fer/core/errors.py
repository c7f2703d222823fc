"""End a command in one line after a mistake of the user, Ctrl-C or SIGTERM."""

import multiprocessing
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType

_STOP_MESSAGE = b"stopped; give the same command again, and it goes on from here\n"

temporary_folders: set[Path] = set()
"""Folders that Ctrl-C and SIGTERM remove, from `fer.core.files.temporary_folder`."""


class FerError(Exception):
    """A mistake that the user can correct; the message says what, where and what to do."""


def exit_on_error(main: Callable[[], None]) -> None:
    """Run a program; turn a FerError or OSError into one line on stderr and exit status 1.

    An OSError is a full disk or a read-only folder, for example.
    """
    try:
        main()
    except BrokenPipeError:  # the reader of standard output has closed it
        raise
    except (FerError, OSError) as error:
        sys.exit(f"error: {error}")


def stop_in_one_line() -> None:
    """Make Ctrl-C and SIGTERM end this process at once, with one line and status 130 or 143.

    Nothing is lost, because all files are written whole (`fer.core.files.atomic_path`).
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) != signal.SIG_IGN:  # ignored under `nohup`
            signal.signal(number, _stop)


def _stop(number: int, frame: FrameType | None) -> None:
    if not multiprocessing.parent_process():  # the parent of a worker prints the line
        os.write(2, _STOP_MESSAGE)
    for child in multiprocessing.active_children():
        child.kill()
        child.join(1)
    for folder in temporary_folders:
        shutil.rmtree(folder, ignore_errors=True)
    os._exit(128 + number)
