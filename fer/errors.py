"""Mistakes of the user and stops, told in one line."""

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType

_Handler = Callable[[int, FrameType | None], None]

_STOPS = (signal.SIGINT, signal.SIGTERM)

_LINE = b"stopped; give the same command again, and it goes on from here\n"

_PATIENCE = 1.0
"""Seconds that what runs when a stop comes has to put things in order."""


class FerError(Exception):
    """Something the user can put right: its message says what, where and what to do."""


def exit_on_error(main: Callable[[], None]) -> None:
    """Run `main`; a FerError becomes one line on stderr and exit status 1, without a traceback.

    So does an OSError: a full disk, a folder that may only be read.
    """
    _change_handlers(_leave, _stop)
    try:
        main()
        if signal.getitimer(signal.ITIMER_REAL)[0]:  # of a stop, whose exception something dropped
            raise KeyboardInterrupt
    except BrokenPipeError:  # of standard output: whoever read it has enough
        raise
    except (FerError, OSError) as error:
        sys.exit(f"error: {error}")
    finally:
        _change_handlers(_stop, signal.SIG_IGN)  # what clears up at the end drops an exception


def stop_in_one_line() -> None:
    """From now on, Ctrl-C and SIGTERM end this process within two seconds, with one line."""
    for number in _STOPS:
        if signal.getsignal(number) != signal.SIG_IGN:  # as of `nohup`
            signal.signal(number, _leave)


def _change_handlers(old: _Handler, new: _Handler | signal.Handlers) -> None:
    for number in _STOPS:
        if signal.getsignal(number) is old:
            signal.signal(number, new)


def _leave(number: int, frame: FrameType | None) -> None:
    """While a stage imports: nothing is to be put in order, and imports may drop an exception."""
    if not multiprocessing.parent_process():  # of a DataLoader worker, which says it
        os.write(2, _LINE)
    os._exit(128 + number)


def _stop(number: int, frame: FrameType | None) -> None:
    if multiprocessing.parent_process():
        _leave(number, frame)
    _change_handlers(_stop, signal.SIG_IGN)
    os.write(2, _LINE)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # what says so too: imports, workers, libraries
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # ends the process, whatever it is in
    signal.setitimer(signal.ITIMER_REAL, _PATIENCE)
    raise KeyboardInterrupt
