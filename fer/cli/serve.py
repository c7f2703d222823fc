"""The command `fer serve`."""

import argparse
import logging
import os
import signal
import socket

from fer.cli.options import Commands, add_model_options, load_recognizer
from fer.core.errors import FerError


def add_to(commands: Commands) -> None:
    """Add this command to the command line."""
    server = commands.add_parser("serve", help="predict over HTTP, until Ctrl-C (docs/serving.md)")
    server.add_argument(
        "--host",
        default="127.0.0.1",
        help="the address to listen at (default: this machine only); 0.0.0.0 is all networks",
    )
    server.add_argument("--port", type=int, default=8000, help="the port (default: 8000)")
    server.add_argument(
        "--cors",
        metavar="ORIGIN",
        action="append",
        default=[],
        help="another site whose pages may use this server, as https://example.org (several times)",
    )
    server.add_argument("--log", action="store_true", help="print one line per request")
    server.add_argument(
        "--token",
        default=os.environ.get("FER_TOKEN"),
        help="predict only for requests with this bearer token (default: the variable FER_TOKEN)",
    )
    add_model_options(server)
    server.set_defaults(run=_serve)


def _serve(arguments: argparse.Namespace) -> None:
    """Serve until Ctrl-C or SIGTERM; requests that have begun are answered."""
    import uvicorn

    from fer.serve.server import App, Connection

    if arguments.token == "":
        raise FerError("the token is empty, which would mean none; write one or remove FER_TOKEN")
    listener = _listen(arguments.host, arguments.port)
    app = App(load_recognizer(arguments), arguments.cors, arguments.token)
    config = uvicorn.Config(
        app,
        http=Connection,
        ws="none",
        lifespan="off",
        backlog=1024,
        timeout_graceful_shutdown=60,  # seconds; a client may never read its answer
        log_level=logging.ERROR,
        access_log=arguments.log,
        server_header=False,
    )
    logging.getLogger("uvicorn.access").setLevel(logging.INFO)
    server = uvicorn.Server(config)
    for number in (signal.SIGINT, signal.SIGTERM):  # uvicorn raises it again at the end
        signal.signal(number, server.handle_exit)
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    print(f"http://{shown}:{port} (Ctrl-C ends it)", flush=True)
    server.run([listener])
    requests, images = (
        int(app.registry.get_sample_value(f"fer_{name}_total") or 0)
        for name in ("requests", "images")
    )
    print(f"stopped after {requests} requests and {images} images")


def _listen(host: str, port: int) -> socket.socket:
    if not host:
        raise FerError("--host is empty, which would mean all networks; write 0.0.0.0 for that")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        is_all = host == "::"  # then of IPv4 too
        return socket.create_server(
            (host, port), family=family, backlog=1024, dualstack_ipv6=is_all
        )
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise FerError(f"--host {host} --port {port}: {reason}; use another one") from error
