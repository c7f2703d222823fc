"""Predict over HTTP: the command `fer serve`."""

import base64
import io
import json
import signal
import socket
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from email.parser import BytesParser
from email.policy import HTTP
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import FrameType
from typing import Any

from PIL import Image

from fer import __version__
from fer.errors import FerError
from fer.predict import images
from fer.predict.printing import to_json
from fer.predict.recognizer import Recognizer
from fer.predict.threads import cores

MAX_BODY = 32 * 1024 * 1024
"""Bytes of a request."""

MAX_PIXELS = 50_000_000
"""Pixels of an image."""

MAX_IMAGES = 64
"""Images of a request."""

MAX_CONNECTIONS = 256
"""Connections at a time; further ones get status 503."""

TIMEOUT = 20.0
"""Seconds without data after which a connection is closed, and to wait until a core is free."""

BODY_TIMEOUT = 120.0
"""Seconds for the body of a request to arrive."""

_PAGE = Path(__file__).with_name("page.html")


class RequestError(Exception):
    """A request that cannot be answered.

    Args:
        status: Status of HTTP.
        message: What is wrong and what to do.
    """

    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.status = status


class Server(ThreadingHTTPServer):
    """A server of one recognizer, with a thread per connection.

    Args:
        address: Host and port; port 0 takes a free one.
        recognizer: The recognizer.

    Raises:
        FerError: If the address cannot be used.
    """

    daemon_threads = False  # so that `server_close` waits for what has begun
    request_queue_size = MAX_CONNECTIONS

    def __init__(self, address: tuple[str, int], recognizer: Recognizer) -> None:
        self.recognizer = recognizer
        self.started = time.time()
        self.counts: Counter[str] = Counter()
        self.free_cores = threading.Semaphore(cores())
        self.is_stopping = False
        self._lock = threading.Lock()
        self._idle: dict[socket.socket, bool] = {}
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
        """Add to the numbers that /metrics shows.

        Args:
            **changes: By how much each number grows.
        """
        with self._lock:
            self.counts.update(changes)  # type: ignore[arg-type]  # seconds are floats

    def set_idle(self, connection: socket.socket, is_idle: bool) -> None:
        """Note whether a connection waits for its next request.

        Args:
            connection: The connection.
            is_idle: Whether it waits.
        """
        with self._lock:
            self._idle[connection] = is_idle
            if is_idle and self.is_stopping:
                _end_reading(connection)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Start a thread for a connection, unless there are too many."""
        with self._lock:
            is_full = len(self._idle) >= MAX_CONNECTIONS
            if not is_full:
                self._idle[request] = True
        if is_full:
            self.count(refused=1)
            body = json.dumps({"error": "too many connections; try again later"})
            head = "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\n"
            head += f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
            request.settimeout(1.0)
            with suppress(OSError):  # it has gone
                request.sendall((head + body).encode())
            self.shutdown_request(request)
        else:
            super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Close a connection."""
        with self._lock:
            self._idle.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Pass over connections that the client has closed; print other errors."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)

    def stop(self) -> None:
        """Take no more requests, answer those that have begun, and close."""
        with self._lock:
            self.is_stopping = True
            idle = [connection for connection, is_idle in self._idle.items() if is_idle]
        self.shutdown()
        for connection in idle:
            _end_reading(connection)
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    """Answers the requests of one connection."""

    server: Server
    protocol_version = "HTTP/1.1"
    server_version = f"fer/{__version__}"
    sys_version = ""
    timeout = TIMEOUT
    disable_nagle_algorithm = True

    def handle_one_request(self) -> None:
        self.server.set_idle(self.connection, True)
        self._start, self._is_parsed = time.monotonic(), False
        super().handle_one_request()

    def parse_request(self) -> bool:
        self.server.set_idle(self.connection, False)
        self._start = time.monotonic()
        self._is_parsed = super().parse_request()
        return self._is_parsed

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

    def do_POST(self) -> None:
        try:
            if self.path.partition("?")[0] != "/predict":
                raise RequestError(HTTPStatus.NOT_FOUND, "no such page; post to /predict")
            body = self._read_body()
            self._answer_json(HTTPStatus.OK, self._predict_all(body))
        except RequestError as error:
            self.send_error(error.status, str(error))

    def _predict_all(self, body: bytes) -> dict[str, Any] | list[dict[str, Any]]:
        """Return the object of an image, or a list of them for a form and for JSON."""
        kind = self.headers.get_content_type()
        if kind == "application/json":
            pictures = _from_json(body)
        elif kind == "multipart/form-data":
            parts = body.count(f"--{self.headers.get_boundary()}".encode("latin-1", "replace"))
            if parts > MAX_IMAGES + 1:  # parsing thousands of parts would take a minute
                raise RequestError(
                    HTTPStatus.BAD_REQUEST, f"the form has {parts} parts; send up to {MAX_IMAGES}"
                )
            pictures = _from_form(self.headers["Content-Type"], body)
        else:
            result = self._predict("image", body)
            if "error" in result:
                raise RequestError(HTTPStatus.UNPROCESSABLE_ENTITY, result["error"])
            return result
        if not 1 <= len(pictures) <= MAX_IMAGES:
            raise RequestError(
                HTTPStatus.BAD_REQUEST,
                f"the request has {len(pictures)} images; send 1 to {MAX_IMAGES}",
            )
        return [self._predict(name, content) for name, content in pictures]

    def _predict(self, name: str, content: bytes) -> dict[str, Any]:
        if not self.server.free_cores.acquire(timeout=TIMEOUT):
            raise RequestError(HTTPStatus.SERVICE_UNAVAILABLE, "too busy; try again later")
        try:
            image = images.read(io.BytesIO(content), name)
            faces = self.server.recognizer.predict(image)
        except FerError as error:
            self.server.count(failed=1)
            return {"file": name, "error": str(error)}
        finally:
            self.server.free_cores.release()
        self.server.count(images=1, faces=len(faces))
        return to_json((name, None, faces))

    def _read_body(self) -> bytes:
        """Read the body, which must arrive within the time-out."""
        text = self.headers.get("Content-Length", "")
        if not text.isascii() or not text.isdigit():
            raise RequestError(HTTPStatus.LENGTH_REQUIRED, "send a Content-Length")
        length = int(text)
        if length > MAX_BODY:
            self.close_connection = True  # its body is not read
            raise RequestError(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                f"the request has {length} bytes; send at most {MAX_BODY}",
            )
        parts, left, deadline = [], length, time.monotonic() + BODY_TIMEOUT
        while left:
            part = self.rfile.read1(min(left, 1 << 16))  # type: ignore[attr-defined]
            if not part or time.monotonic() > deadline:
                self.close_connection = True
                raise RequestError(HTTPStatus.REQUEST_TIMEOUT, "the request is not complete")
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
        self.wfile.write(body)
        seconds = time.monotonic() - self._start
        self.server.count(requests=1, seconds=seconds, errors=int(status >= 400))

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer with an error as JSON; the base class calls it too."""
        status = HTTPStatus(code)
        if not self._is_parsed:
            self.request_version = self.protocol_version
        # A body that was not read would be taken for the next request.
        self.close_connection |= not self._is_parsed or self.command != "GET"
        self._answer_json(status, {"error": message or status.phrase})

    def log_message(self, format: str, *arguments: Any) -> None:
        """Print no line per request: /metrics has the numbers."""


def _from_json(body: bytes) -> list[tuple[str, bytes]]:
    try:
        pictures = json.loads(body)["images"]
        contents = [base64.b64decode(text.rpartition(",")[2], validate=True) for text in pictures]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise RequestError(
            HTTPStatus.BAD_REQUEST, 'the JSON is not {"images": ["<base64>", ...]}; send that'
        ) from error
    return [(f"image {number}", content) for number, content in enumerate(contents)]


def _from_form(content_type: str, body: bytes) -> list[tuple[str, bytes]]:
    head = f"Content-Type: {content_type}\r\n\r\n".encode("latin-1", "replace")
    form = BytesParser(policy=HTTP).parsebytes(head + body)
    parts = list(form.iter_parts()) if form.is_multipart() else []
    pictures = [
        (part.get_filename() or f"image {number}", part.get_payload(decode=True))
        for number, part in enumerate(parts)
    ]
    return [(name, content) for name, content in pictures if isinstance(content, bytes)]


def _end_reading(connection: socket.socket) -> None:
    with suppress(OSError):  # it is closed already
        connection.shutdown(socket.SHUT_RD)


def serve(recognizer: Recognizer, host: str, port: int) -> None:
    """Serve until Ctrl-C or SIGTERM; requests that have begun are answered.

    Args:
        recognizer: The recognizer.
        host: The address to listen at.
        port: The port.

    Raises:
        FerError: If the address cannot be used.
    """
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
