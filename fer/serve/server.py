"""Predict over HTTP: the command `fer serve`."""

import io
import json
import os
import re
import signal
import socket
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from email.errors import FirstHeaderLineIsContinuationDefect, MissingHeaderBodySeparatorDefect
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import FrameType
from typing import Any

from PIL import Image

from fer.core import __version__
from fer.core.errors import FerError
from fer.core.machine import cores
from fer.images import reading
from fer.predict.recognizer import Recognizer
from fer.predict.table import to_json
from fer.serve.uploads import RequestError, from_form, from_json

MAX_BODY = 32 * 1024 * 1024
"""Bytes of a request."""

MAX_PIXELS = 50_000_000
"""Pixels of an image."""

MAX_BODIES = 512 * 1024 * 1024
"""Bytes of all requests at a time; further ones get status 503."""

MAX_CONNECTIONS = 256
"""Connections at a time; further ones get status 503."""

TIMEOUT = 20.0
"""Seconds without data after which a connection is closed, for the headers of a request, and to
wait until a core is free."""

BODY_TIMEOUT = 120.0
"""Seconds for the body of a request to arrive."""

GRACE = 10.0
"""Seconds for bodies to arrive after the server was told to stop."""

_LINGER = 2.0
"""Seconds to read what a client still sends after an error; else it would not see the answer."""

FORMATS = ("JPEG", "MPO", "PNG", "GIF", "WEBP", "AVIF", "BMP", "TIFF", "JPEG2000")
"""Formats of images. Pillow reads some others in Python, which takes a second per megapixel."""

_PAGE = Path(__file__).with_name("page.html")


class Server(ThreadingHTTPServer):
    """A server of one recognizer, with a thread per connection; port 0 takes a free one.

    Raises:
        FerError: If the address cannot be used.
    """

    daemon_threads = False  # so that `server_close` waits for what has begun
    allow_reuse_address = os.name != "nt"  # there, two servers could share a port
    request_queue_size = MAX_CONNECTIONS

    def __init__(self, address: tuple[str, int], recognizer: Recognizer) -> None:
        self.recognizer = recognizer
        self.counts: Counter[str] = Counter()
        self.free_cores = threading.Semaphore(cores())
        self.is_stopping = False
        self._lock = threading.Lock()
        self._body_bytes = 0
        # When a connection began to wait for a request; None while it is answered.
        self._waiting: dict[socket.socket, float | None] = {}
        # Pillow refuses images of twice this size.
        Image.MAX_IMAGE_PIXELS = MAX_PIXELS // 2
        host, port = address
        if ":" in host:
            self.address_family = socket.AF_INET6
        try:
            super().__init__(address, _Handler)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            raise FerError(f"--host {host} --port {port}: {reason}; use another one") from error

    def count(self, **changes: float) -> None:
        """Add to the numbers that /metrics shows."""
        with self._lock:
            self.counts.update(changes)  # type: ignore[arg-type]  # seconds are floats

    def set_waiting(self, connection: socket.socket, is_waiting: bool) -> None:
        """Note whether a connection waits for a request and its headers."""
        with self._lock:
            self._waiting[connection] = time.monotonic() if is_waiting else None
            if is_waiting and self.is_stopping:
                _end_reading(connection)

    def service_actions(self) -> None:
        """End connections whose headers come too slowly; called twice per second."""
        self._end_waiting(time.monotonic() - TIMEOUT)

    def reserve(self, size: int) -> bool:
        """Reserve bytes for the body of a request if there are enough; negative ones free them."""
        with self._lock:
            if self._body_bytes + size > MAX_BODIES:
                return False
            self._body_bytes += size
            return True

    def process_request(self, request: Any, client_address: Any) -> None:
        """Start a thread for a connection, unless there are too many."""
        with self._lock:
            is_full = len(self._waiting) >= MAX_CONNECTIONS
            if not is_full:
                self._waiting[request] = time.monotonic()
        if not is_full:
            super().process_request(request, client_address)
            return
        self.count(refused=1)
        body = json.dumps({"error": "too many connections; try again later"})
        head = "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\n"
        head += f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        threading.Thread(target=self._refuse, args=(request, head + body), daemon=True).start()

    def _refuse(self, request: socket.socket, answer: str) -> None:
        with suppress(OSError):  # it has gone
            request.settimeout(1.0)
            request.sendall(answer.encode())
            linger(request)
        self.shutdown_request(request)

    def shutdown_request(self, request: Any) -> None:
        """Close a connection."""
        with self._lock:
            self._waiting.pop(request, None)
        super().shutdown_request(request)

    def _end_waiting(self, before: float) -> None:
        """End the connections that have waited for a request since before a time."""
        with self._lock:
            for connection, since in self._waiting.items():
                if since is not None and since <= before:
                    _end_reading(connection)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Pass over connections that the client has closed; print other errors."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)

    def stop(self) -> None:
        """Take no more requests, answer those that have begun, and close."""
        with self._lock:
            self.is_stopping = True
        self.shutdown()
        self._end_waiting(time.monotonic())
        late = threading.Timer(GRACE, self._end_all)
        late.daemon = True
        late.start()
        self.server_close()
        late.cancel()

    def _end_all(self) -> None:
        with self._lock:
            for connection in self._waiting:
                _end_reading(connection)


class _Handler(BaseHTTPRequestHandler):
    """Answers the requests of one connection."""

    server: Server
    protocol_version = "HTTP/1.1"
    server_version = f"fer/{__version__}"
    sys_version = ""
    timeout = TIMEOUT
    disable_nagle_algorithm = True

    def handle_one_request(self) -> None:
        self.server.set_waiting(self.connection, True)
        self._start, self._is_parsed = time.monotonic(), False
        self._expects_continue = False
        super().handle_one_request()

    def parse_request(self) -> bool:
        self._start = time.monotonic()
        self._is_parsed = super().parse_request()
        self.server.set_waiting(self.connection, False)
        # A body that is not read would be taken for the next request.
        if self._is_parsed and self.command != "POST":
            names = ("Content-Length", "Transfer-Encoding")
            values = [value for name in names for value in self.headers.get_all(name, [])]
            self.close_connection |= any(value != "0" for value in values)
        # The parser leaves out what follows such a line.
        broken = MissingHeaderBodySeparatorDefect, FirstHeaderLineIsContinuationDefect
        if self._is_parsed and any(isinstance(d, broken) for d in self.headers.defects):
            self.close_connection = True
            self.send_error(HTTPStatus.BAD_REQUEST, "a header cannot be read")
            return False
        return self._is_parsed

    def handle_expect_100(self) -> bool:
        """Ask for the body only after the headers were checked; the base class asks at once."""
        self._expects_continue = True
        return True

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/":
            self._answer(HTTPStatus.OK, _PAGE.read_bytes(), "text/html; charset=utf-8")
        elif path == "/health":
            recognizer = self.server.recognizer
            self._answer_json(
                HTTPStatus.OK,
                {"status": "ok", "version": __version__, "model": recognizer.path.name}
                | {"classes": recognizer.classes},
            )
        elif path == "/metrics":
            self._answer(HTTPStatus.OK, self._metrics().encode(), "text/plain; version=0.0.4")
        else:
            self.send_error(HTTPStatus.NOT_FOUND, "no such page; use /, /predict or /health")

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        try:
            if self.path.partition("?")[0] != "/predict":
                raise RequestError("no such page; post to /predict", HTTPStatus.NOT_FOUND)
            length = self._body_length()
            if not self.server.reserve(length):
                raise RequestError("too busy; try again later", HTTPStatus.SERVICE_UNAVAILABLE)
            try:
                results = self._predict_all(self._read_body(length))
            finally:
                self.server.reserve(-length)
            self._answer_json(HTTPStatus.OK, results)
        except RequestError as error:
            self.send_error(error.status, str(error))
        except OSError:  # the client has gone
            raise
        except Exception as error:  # a fault of ours must not end the others' connections
            print(f"error: {error!r} for {self.requestline!r}", file=sys.stderr)
            self.send_error(HTTPStatus.INTERNAL_SERVER_ERROR, "internal error; see the log")

    def _predict_all(self, body: bytes) -> dict[str, Any] | list[dict[str, Any]]:
        """Return the object of an image, or a list of them for a form and for JSON."""
        kind = self.headers.get_content_type()
        if kind == "application/json":
            pictures = from_json(body)
        elif kind == "multipart/form-data":
            pictures = from_form(self.headers.get_boundary(), body)
        else:
            result = self._predict("image", body)
            if "error" in result:
                raise RequestError(result["error"], HTTPStatus.UNPROCESSABLE_ENTITY)
            return result
        return [self._predict(name, content) for name, content in pictures]

    def _predict(self, name: str, content: bytes) -> dict[str, Any]:
        if not self.server.free_cores.acquire(timeout=TIMEOUT):
            raise RequestError("too busy; try again later", HTTPStatus.SERVICE_UNAVAILABLE)
        try:
            image = reading.read(io.BytesIO(content), name, FORMATS)
            faces = self.server.recognizer.predict(image)
        except FerError as error:
            self.server.count(failed=1)
            return {"file": name, "error": str(error)}
        finally:
            self.server.free_cores.release()
        self.server.count(images=1, faces=len(faces))
        return to_json((name, None, faces))

    def _body_length(self) -> int:
        """Return the bytes of the body, from its only Content-Length."""
        texts = self.headers.get_all("Content-Length", [])
        if len(texts) != 1 or "Transfer-Encoding" in self.headers:
            raise RequestError("send one Content-Length, not in chunks", HTTPStatus.LENGTH_REQUIRED)
        if not re.fullmatch("[0-9]{1,18}", texts[0].strip()):
            raise RequestError("send a number as Content-Length", HTTPStatus.LENGTH_REQUIRED)
        if int(texts[0]) > MAX_BODY:
            raise RequestError(
                f"the request has {texts[0]} bytes; send at most {MAX_BODY}",
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            )
        return int(texts[0])

    def _read_body(self, length: int) -> bytes:
        """Read the body, which must arrive within the time-out."""
        if self._expects_continue:
            self.send_response_only(HTTPStatus.CONTINUE)
            self.end_headers()
        parts, left, deadline = [], length, time.monotonic() + BODY_TIMEOUT
        while left:
            part = self.rfile.read1(min(left, 1 << 16))  # type: ignore[attr-defined]
            if not part or time.monotonic() > deadline:
                raise RequestError("the request is not complete", HTTPStatus.REQUEST_TIMEOUT)
            parts.append(part)
            left -= len(part)
        return b"".join(parts)

    def _metrics(self) -> str:
        """Return numbers in the format of Prometheus."""
        counts = self.server.counts
        values = {
            "fer_requests_total": counts["requests"],
            "fer_request_seconds_total": counts["seconds"],
            "fer_errors_total": counts["errors"],
            "fer_refused_connections_total": counts["refused"],
            "fer_images_total": counts["images"],
            "fer_failed_images_total": counts["failed"],
            "fer_faces_total": counts["faces"],
        }
        lines = [f"# TYPE {name} counter\n{name} {value}\n" for name, value in values.items()]
        return "".join(lines)

    def _answer_json(self, status: HTTPStatus, content: Any) -> None:
        self._answer(status, json.dumps(content).encode() + b"\n", "application/json")

    def _answer(self, status: HTTPStatus, body: bytes, kind: str) -> None:
        if self.server.is_stopping:
            self.close_connection = True
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        seconds = time.monotonic() - self._start
        self.server.count(requests=1, seconds=seconds, errors=int(status >= 400))

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer with an error as JSON; the base class calls it too."""
        status = HTTPStatus(code)
        if not self._is_parsed:
            self.request_version = self.protocol_version
        self.close_connection |= not self._is_parsed or self.command == "POST"
        self._answer_json(status, {"error": message or status.phrase})
        if self.close_connection:
            linger(self.connection)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Print no line per request: /metrics has the numbers."""


def _end_reading(connection: socket.socket) -> None:
    with suppress(OSError):  # it is closed already
        connection.shutdown(socket.SHUT_RD)


def linger(connection: socket.socket) -> None:
    """Tell a client that no more comes, and read what it still sends.

    A connection that is closed with unread data would take the answer from the client.
    """
    deadline = time.monotonic() + _LINGER
    with suppress(OSError):
        connection.shutdown(socket.SHUT_WR)
        connection.settimeout(_LINGER)
        while time.monotonic() < deadline and connection.recv(1 << 16):
            pass


def serve(recognizer: Recognizer, host: str, port: int) -> None:
    """Serve until Ctrl-C or SIGTERM; requests that have begun are answered.

    Raises:
        FerError: If the address cannot be used.
    """
    if not host:
        raise FerError("--host is empty, which would mean all networks; write 0.0.0.0 for that")
    server = Server((host, port), recognizer)
    stopped = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        stopped.set()
        signal.signal(number, handlers[number])  # the second one acts as usual

    handlers = {int(n): signal.signal(n, stop) for n in (signal.SIGINT, signal.SIGTERM)}
    threading.Thread(target=server.serve_forever, daemon=True).start()
    shown = f"[{host}]" if ":" in host else host
    print(f"http://{shown}:{server.server_port} (Ctrl-C ends it)", flush=True)
    while not stopped.wait(0.2):  # in steps, because Ctrl-C does not end a long wait on Windows
        pass
    server.stop()
    counts = server.counts
    print(f"stopped after {counts['requests']} requests and {counts['images']} images", flush=True)
