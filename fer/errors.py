"""Mistakes of the user and stops, told in one line."""

import atexit
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType

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


def stop_in_one_line() -> None:
    """From now on, Ctrl-C and SIGTERM end this process within two seconds, with one line.

    When all is done, they are ignored: while it clears up, Python would end without the line.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) != signal.SIG_IGN:  # as of `nohup`
            signal.signal(number, _stop)
            atexit.register(signal.signal, number, signal.SIG_IGN)


def _stop(number: int, frame: FrameType | None) -> None:
    if multiprocessing.parent_process():  # a DataLoader worker's parent says it
        os._exit(128 + number)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.write(2, b"stopped; give the same command again, and it goes on from here\n")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # what says so too: imports, workers, libraries
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # ends the process, whatever it is in
    signal.setitimer(signal.ITIMER_REAL, _PATIENCE)
    raise KeyboardInterrupt
