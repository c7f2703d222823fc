"""End a command in one line after a mistake of the user, Ctrl-C or SIGTERM."""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType

_Handler = Callable[[int, FrameType | None], None]

_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)

_STOP_MESSAGE = b"stopped; give the same command again, and it goes on from here\n"

_CLEANUP_SECONDS = 1.0
"""Time for cleaning up after a stop signal."""

_stop_signals: list[int] = []
"""The stop signal that this process has received."""


class FerError(Exception):
    """A mistake that the user can correct; the message says what, where and what to do."""


def exit_on_error(main: Callable[[], None]) -> None:
    """Run a program; turn a FerError or OSError into one line on stderr and exit status 1.

    An OSError is a full disk or a read-only folder, for example.

    Args:
        main: The program.
    """
    _change_handlers(_exit_at_once, _interrupt)
    try:
        main()
        if _stop_signals:  # some libraries drop the KeyboardInterrupt
            raise KeyboardInterrupt
    except BrokenPipeError:  # the reader of standard output has closed it
        raise
    except (FerError, OSError) as error:
        sys.exit(f"error: {error}")
    finally:
        _change_handlers(_interrupt, signal.SIG_IGN)  # code that runs at exit drops exceptions


def stop_in_one_line() -> None:
    """Make Ctrl-C and SIGTERM end this process within two seconds, with one line."""
    for number in _STOP_SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:  # ignored under `nohup`
            signal.signal(number, _exit_at_once)


def _change_handlers(old: _Handler, new: _Handler | signal.Handlers) -> None:
    for number in _STOP_SIGNALS:
        if signal.getsignal(number) is old:
            signal.signal(number, new)


def _exit_at_once(number: int, frame: FrameType | None) -> None:
    """Exit while a stage imports: there is nothing to clean up, and imports drop exceptions."""
    if not multiprocessing.parent_process():  # the parent of a DataLoader worker prints the line
        os.write(2, _STOP_MESSAGE)
    os._exit(128 + number)


def _interrupt(number: int, frame: FrameType | None) -> None:
    if multiprocessing.parent_process():
        _exit_at_once(number, frame)
    _change_handlers(_interrupt, signal.SIG_IGN)
    os.write(2, _STOP_MESSAGE)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # workers and libraries would print tracebacks
    _stop_signals.append(number)
    _limit_cleanup(number)
    raise KeyboardInterrupt


def _limit_cleanup(number: int) -> None:
    """End this process if cleaning up takes too long."""
    if hasattr(signal, "setitimer"):  # ends it even if a library never returns to Python
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, _CLEANUP_SECONDS)
        return
    timer = threading.Timer(_CLEANUP_SECONDS, os._exit, [128 + number])  # Windows
    timer.daemon = True
    timer.start()
