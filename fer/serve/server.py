"""Predict over HTTP: the web application, and the limits of its connections."""
# ruff: noqa: D102 (methods of uvicorn)

import asyncio
import base64
import json
import math
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from hmac import compare_digest
from io import BytesIO
from pathlib import Path
from typing import Annotated, Any

import prometheus_client
from fastapi import Depends, FastAPI, Request
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse
from fastapi.security import HTTPBearer
from PIL import Image
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartParser
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from fer.core import __version__
from fer.core.errors import FerError
from fer.core.machine import cores
from fer.images import reading
from fer.predict.recognizer import Recognizer
from fer.predict.table import to_json

MAX_BODY = 32 * 1024 * 1024  # bytes of a request
MAX_BODIES = 512 * 1024 * 1024  # bytes of all requests at a time
MAX_HEAD = 64 * 1024  # bytes of the headers of a request
MAX_IMAGES = 64  # of a request
MAX_PIXELS = 50_000_000  # of an image
MAX_REQUESTS = 512  # to /predict at a time
BODY_TIMEOUT = 120.0  # seconds for the body of a request to arrive
HEAD_TIMEOUT = 20.0  # seconds for the headers of the next request to arrive

# Pillow reads some other formats in Python, which takes a second per megapixel.
FORMATS = ("JPEG", "MPO", "PNG", "GIF", "WEBP", "AVIF", "HEIF", "BMP", "TIFF", "JPEG2000")

COUNTERS = (
    *("requests", "request_seconds", "errors", "refused_connections"),
    *("images", "failed_images", "faces"),
)


class App(FastAPI):
    """A recognizer behind a queue, which has at most one image of each request at a time.

    Pages of other sites (`origins`) may use it; `token` is the bearer token that it asks for.
    """

    def __init__(
        self, recognizer: Recognizer, origins: Sequence[str] = (), token: str | None = None
    ) -> None:
        super().__init__(title="fer", version=__version__, redoc_url=None)
        Image.MAX_IMAGE_PIXELS = MAX_PIXELS // 2  # Pillow refuses images of twice this size
        MultiPartParser.spool_max_size = MAX_BODY  # so that no image is written to the disk
        prometheus_client.disable_created_metrics()
        self.recognizer, self.threads = recognizer, ThreadPoolExecutor(cores())
        self.requests = self.body_bytes = 0
        self.registry = registry = prometheus_client.CollectorRegistry()
        self.counters = {
            name: prometheus_client.Counter(f"fer_{name}", name, registry=registry)
            for name in COUNTERS
        }
        if origins:
            self.add_middleware(
                CORSMiddleware, allow_origins=origins, allow_methods=["*"], allow_headers=["*"]
            )
        self.add_exception_handler(HTTPException, self._answer_error)
        self.add_exception_handler(Exception, self._answer_error)

        async def check(sent: Annotated[Any, Depends(HTTPBearer())]) -> None:
            if not compare_digest(sent.credentials.encode(), str(token).encode()):
                raise HTTPException(401, "the token is wrong", {"WWW-Authenticate": "Bearer"})

        guards = [Depends(check)] if token else []
        schema = json.loads(Path(__file__).with_name("openapi.json").read_text())
        self.post("/predict", dependencies=guards, openapi_extra=schema)(self.predict)

        @self.get("/", include_in_schema=False)
        async def page() -> FileResponse:
            return FileResponse(Path(__file__).with_name("page.html"))

        @self.head("/health", include_in_schema=False)
        @self.get("/health")
        async def health() -> dict[str, Any]:
            model = {"model": recognizer.path.name, "classes": recognizer.classes}
            return {"status": "ok", "version": __version__} | model

        @self.get("/metrics", dependencies=guards)
        async def metrics() -> PlainTextResponse:
            content = prometheus_client.generate_latest(registry)
            return PlainTextResponse(content, media_type=prometheus_client.CONTENT_TYPE_LATEST)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, and count it."""
        start = time.perf_counter()
        try:
            await super().__call__(scope, receive, send)
        finally:
            self.counters["requests"].inc()
            self.counters["request_seconds"].inc(time.perf_counter() - start)

    async def _answer_error(self, request: Request, error: Exception) -> JSONResponse:
        if not isinstance(error, HTTPException):
            error = HTTPException(500, "internal error; see the log")
        self.counters["errors"].inc()
        self.counters["refused_connections"].inc(error.status_code == 503)
        return JSONResponse({"error": error.detail}, error.status_code, error.headers)

    async def predict(self, request: Request) -> JSONResponse:
        """Find faces in one image, or in those of a form or of JSON, and predict their emotions."""
        if self.requests >= MAX_REQUESTS:
            raise HTTPException(503, "too busy; try again later", {"Retry-After": "5"})
        size, announced = 0, int(request.headers.get("content-length", 0))

        async def receive() -> Message:
            nonlocal size
            if max(size, announced) > MAX_BODY:
                raise HTTPException(413, f"the request is too large; send at most {MAX_BODY} bytes")
            if self.body_bytes > MAX_BODIES:
                raise HTTPException(503, "too busy; try again later", {"Retry-After": "5"})
            message = await request.receive()
            size += len(message.get("body", b""))
            self.body_bytes += len(message.get("body", b""))
            return message

        self.requests += 1
        try:
            return JSONResponse(await self._predict_all(Request(request.scope, receive)))
        finally:
            self.requests -= 1
            self.body_bytes -= size

    async def _predict_all(self, request: Request) -> Any:
        """Return the object of an image, or a list of them for a form and for JSON."""
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        try:
            async with asyncio.timeout(BODY_TIMEOUT):
                if kind == "multipart/form-data":
                    form = await request.form(max_files=MAX_IMAGES, max_fields=MAX_IMAGES)
                    files = [file for _, file in form.multi_items() if not isinstance(file, str)]
                    # A field in which no file was chosen has neither name nor content.
                    sent = [file for file in files if file.filename or file.size]
                    images = [(file.filename or "image", file.file) for file in sent]
                elif kind == "application/json":
                    images = _from_json(await request.body())
                else:
                    images = [("image", BytesIO(await request.body()))]
        except (TimeoutError, ClientDisconnect) as error:
            message = "the request did not arrive in time; send it again"
            raise HTTPException(408, message, {"Connection": "close"}) from error
        if not 1 <= len(images) <= MAX_IMAGES:
            raise HTTPException(400, f"{len(images)} images; send 1 to {MAX_IMAGES}")
        run = asyncio.get_running_loop().run_in_executor
        results = [await run(self.threads, self._predict, *image) for image in images]
        if kind in ("multipart/form-data", "application/json"):
            return results
        if "error" in results[0]:
            raise HTTPException(422, results[0]["error"])
        return results[0]

    def _predict(self, name: str, file: Any) -> dict[str, Any]:
        try:
            faces = self.recognizer.predict(reading.read(file, name, FORMATS))
        except FerError as error:
            self.counters["failed_images"].inc()
            return {"file": name, "error": str(error)}
        self.counters["images"].inc()
        self.counters["faces"].inc(len(faces))
        return to_json((name, None, faces))


def _from_json(body: bytes) -> list[tuple[Any, Any]]:
    """Return names and files of `{"images": ["<base64>", ...]}`; data URLs are taken too."""
    try:
        if sum(body.count(mark) for mark in b'"[{,') > 8 * MAX_IMAGES:  # would take gigabytes
            raise ValueError("it has too many parts")
        texts = [text.rpartition(",")[2] for text in json.loads(body)["images"]]
        # Too much padding does no harm; in URLs it is left out.
        files = [BytesIO(base64.urlsafe_b64decode(text + "==")) for text in texts]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        message = f'the JSON is not {{"images": ["<base64>", ...]}} ({error}); send that'
        raise HTTPException(400, message) from error
    return [(f"image {n}", file) for n, file in enumerate(files)]


class Connection(HttpToolsProtocol):
    """A connection on which headers must be short and arrive in time."""

    _head_left = math.inf  # bytes; without a limit outside the headers

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._timer = self.loop.call_later(HEAD_TIMEOUT, transport.close)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head_left = MAX_HEAD

    def data_received(self, data: bytes) -> None:
        self._head_left -= len(data)
        if self._head_left < 0:
            self.send_400_response("the headers are too long")
        else:
            super().data_received(data)

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        self._head_left = math.inf
        self._timer.cancel()

    def send_400_response(self, msg: str) -> None:
        super().send_400_response(json.dumps({"error": msg}))

    def on_response_complete(self) -> None:
        super().on_response_complete()
        # A body that was not read may still arrive.
        if self.cycle.response_complete:  # no other request has arrived meanwhile
            self._timer = self.loop.call_later(HEAD_TIMEOUT, self.transport.close)
