"""Mistakes of the user, told in one line."""

import sys
from collections.abc import Callable


class FerError(Exception):
    """Something the user can put right: its message says what, where and what to do."""


def exit_on_error(main: Callable[[], None]) -> None:
    """Run `main`; a FerError becomes one line on stderr and exit status 1, without a traceback."""
    try:
        main()
    except FerError as error:
        sys.exit(f"error: {error}")
