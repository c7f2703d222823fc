"""Mistakes of the user and stops, told in one line."""

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType

_STOPS = (signal.SIGINT, signal.SIGTERM)

_PATIENCE = 1.0
"""Seconds that what runs when a stop comes has to put things in order."""


class FerError(Exception):
    """Something the user can put right: its message says what, where and what to do."""


def exit_on_error(main: Callable[[], None]) -> None:
    """Run `main`; a FerError becomes one line on stderr and exit status 1, without a traceback.

    So does an OSError: a full disk, a folder that may only be read.
    """
    try:
        main()
    except BrokenPipeError:  # of standard output: whoever read it has enough
        raise
    except (FerError, OSError) as error:
        sys.exit(f"error: {error}")
    finally:
        _ignore_stops()


def stop_in_one_line() -> None:
    """From now on, Ctrl-C and SIGTERM end this process within two seconds, with one line."""
    for number in _STOPS:
        if signal.getsignal(number) != signal.SIG_IGN:  # as of `nohup`
            signal.signal(number, _stop)


def _ignore_stops() -> None:
    """When all is done: while PyTorch clears up, a Python handler ends in a segmentation fault."""
    for number in _STOPS:
        if signal.getsignal(number) is _stop:
            signal.signal(number, signal.SIG_IGN)


def _stop(number: int, frame: FrameType | None) -> None:
    if multiprocessing.parent_process():  # a DataLoader worker's parent says it
        os._exit(128 + number)
    _ignore_stops()
    os.write(2, b"stopped; give the same command again, and it goes on from here\n")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # what says so too: imports, workers, libraries
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # ends the process, whatever it is in
    signal.setitimer(signal.ITIMER_REAL, _PATIENCE)
    raise KeyboardInterrupt
