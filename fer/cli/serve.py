"""The command `fer serve`."""

import argparse
import math
import os
import signal
import socket
from functools import partial
from tempfile import TemporaryDirectory

from fer.cli.options import Commands, add_model_options, load_recognizer
from fer.core.errors import FerError
from fer.core.machine import cores


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
    server.add_argument(
        "--workers", metavar="N", type=int, default=1, help="processes that share the cores"
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
    from uvicorn.config import LOGGING_CONFIG
    from uvicorn.supervisors import Multiprocess

    if arguments.token == "":
        raise FerError("the token is empty, which would mean none; write one or remove FER_TOKEN")
    if arguments.workers < 1:
        raise FerError(f"--workers {arguments.workers}: use at least 1")
    with TemporaryDirectory() as folder:
        if arguments.workers > 1:
            os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder  # before the package is imported
        from fer.serve.server import App, Connection

        LOGGING_CONFIG["loggers"]["uvicorn.error"]["level"] = "ERROR"
        recognizer = load_recognizer(arguments)
        threads = math.ceil(cores() / arguments.workers)
        listener = _listen(arguments.host, arguments.port)
        config = uvicorn.Config(
            partial(App, recognizer, arguments.cors, arguments.token, threads),
            factory=True,
            workers=arguments.workers,
            http=Connection,
            ws="none",
            lifespan="off",
            backlog=1024,
            timeout_graceful_shutdown=60,  # seconds; a client may never read its answer
            access_log=arguments.log,
            server_header=False,
        )
        host, port = listener.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        print(f"http://{shown}:{port} (Ctrl-C ends it)", flush=True)
        server = uvicorn.Server(config)
        if arguments.workers > 1:
            Multiprocess(config, [listener]).run()
        else:
            for number in (signal.SIGINT, signal.SIGTERM):  # uvicorn raises it again at the end
                signal.signal(number, server.handle_exit)
            server.run([listener])
    print("stopped")


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
