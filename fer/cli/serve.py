"""The command `fer serve`."""

import argparse

from fer.cli.options import Commands, add_model_options, load_recognizer


def add_to(commands: Commands) -> None:
    """Add this command to the command line."""
    server = commands.add_parser("serve", help="predict over HTTP, until Ctrl-C (docs/serving.md)")
    server.add_argument(
        "--host",
        default="127.0.0.1",
        help="the address to listen at (default: this machine only); 0.0.0.0 is all networks",
    )
    server.add_argument("--port", type=int, default=8000, help="the port (default: 8000)")
    add_model_options(server)
    server.set_defaults(run=_serve)


def _serve(arguments: argparse.Namespace) -> None:
    from fer.serve.server import serve

    serve(load_recognizer(arguments), arguments.host, arguments.port)
