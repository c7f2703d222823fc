"""The command `fer`: one module per command."""

import argparse
import io
import sys
import warnings

from fer.cli import export, predict, printing, serve, train, val
from fer.core import __version__
from fer.core.errors import exit_on_error


def main() -> None:
    """Run the command line; end in one line after a mistake, Ctrl-C or a closed pipe."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # for names that the terminal cannot show
    warnings.filterwarnings("ignore", module=r"PIL\.")  # of broken EXIF and large images
    try:
        exit_on_error(_run)
    except BrokenPipeError:  # as in `fer predict ... | head`
        printing.discard_output()
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)  # the status that shells use for Ctrl-C


def _run() -> None:
    parser = argparse.ArgumentParser(prog="fer", description="Facial emotion recognition.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command")
    for command in (predict, serve, val, train, export):
        command.add_to(commands)
    arguments = parser.parse_args()
    if arguments.command:
        arguments.run(arguments)
    else:
        parser.print_help()
