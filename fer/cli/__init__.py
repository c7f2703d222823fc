"""The command `fer`: one module per command."""

import argparse
import io
import os
import signal
import sys
import warnings

from fer.cli import export, predict, serve, train, val
from fer.core import __version__
from fer.core.errors import FerError, exit_on_error


def main() -> None:
    """Run the command line; end in one line after a mistake, and silently when it is stopped.

    The exit status is 1 after a mistake, 130 after Ctrl-C and 143 after SIGTERM.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # for names that the terminal cannot show
    warnings.filterwarnings("ignore", module=r"PIL\.")  # of broken EXIF and large images
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        exit_on_error(_run)
    except BrokenPipeError:  # as in `fer predict ... | head`
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    finally:
        try:
            sys.stdout.flush()
        except OSError:  # Python would flush again at exit, with a traceback
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run() -> None:
    parser = argparse.ArgumentParser(prog="fer", description="Facial emotion recognition.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command")
    for command in (predict, serve, val, train, export):
        command.add_to(commands)
    arguments = parser.parse_args()
    if not arguments.command:
        parser.print_help()
        return
    try:
        arguments.run(arguments)
    except ModuleNotFoundError as error:
        if not error.name or error.name.startswith("fer."):
            raise
        extra = {"predict": "video", "serve": "serve"}.get(arguments.command, "train")
        raise FerError(
            f"this command needs {error.name}; pip install 'fer-pipeline[{extra}]'"
        ) from error
