"""Predict over HTTP: the web application, and the limits of its connections."""
# ruff: noqa: D102 (methods of uvicorn)

import asyncio
import json
import math
import os
import time
from concurrent.futures import ThreadPoolExecutor
from hmac import compare_digest
from io import BytesIO
from pathlib import Path
from typing import Annotated, Any

import prometheus_client as prometheus
from fastapi import Depends, FastAPI, Request
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse, Response
from fastapi.security import HTTPBearer
from PIL import Image
from prometheus_client.multiprocess import MultiProcessCollector
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartParser
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from fer.core import __version__
from fer.core.errors import FerError
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
PAGE = Path(__file__).with_name("page")  # in a source tree, a link to demo/page


class App(FastAPI):
    """A recognizer behind a queue, which has at most one image of each request at a time.

    Pages of other sites (`origins`) may use it. `token` is the bearer token that it asks for.
    """

    def __init__(
        self, recognizer: Recognizer, origins: list[str], token: str | None, threads: int
    ) -> None:
        super().__init__(title="fer", version=__version__, redoc_url=None)
        Image.MAX_IMAGE_PIXELS = MAX_PIXELS // 2  # Pillow refuses images of twice this size
        MultiPartParser.spool_max_size = MAX_BODY  # so that no image is written to the disk
        prometheus.disable_created_metrics()
        self.recognizer, self.threads = recognizer, ThreadPoolExecutor(threads)
        self.requests = self.body_bytes = 0
        self.registry = registry = prometheus.CollectorRegistry()
        self.counters = {n: prometheus.Counter(f"fer_{n}", n, registry=registry) for n in COUNTERS}
        if "PROMETHEUS_MULTIPROC_DIR" in os.environ:  # of several processes
            self.registry = prometheus.CollectorRegistry()
            MultiProcessCollector(self.registry)
        self.add_middleware(
            CORSMiddleware, allow_origins=origins, allow_methods="*", allow_headers="*"
        )
        self.add_exception_handler(HTTPException, self._answer_error)
        self.add_exception_handler(Exception, self._answer_error)

        async def check(sent: Annotated[Any, Depends(HTTPBearer())]) -> None:
            if not compare_digest(sent.credentials.encode(), str(token).encode()):
                raise HTTPException(401, "the token is wrong", {"WWW-Authenticate": "Bearer"})

        guards = [Depends(check)] if token else []
        schema = json.loads(Path(__file__).with_name("openapi.json").read_text())
        self.post("/predict", dependencies=guards, openapi_extra=schema)(self.predict)
        self.get("/metrics", dependencies=guards)(self.metrics)
        self.get("/health")(self.health)
        self.head("/health", include_in_schema=False)(self.health)
        if PAGE.is_dir():
            self.frontend("/", directory=PAGE, fallback=None)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        start = time.perf_counter()
        try:
            await super().__call__(scope, receive, send)
        finally:
            self.counters["requests"].inc()
            self.counters["request_seconds"].inc(time.perf_counter() - start)

    async def _answer_error(self, request: Request, error: Exception) -> JSONResponse:
        if not isinstance(error, HTTPException):
            error = HTTPException(500, "internal error; see the log")
        if (request.method, request.url.path) == ("GET", "/"):
            error.detail = "this installation has no page; post pictures to /predict"
        self.counters["errors"].inc()
        self.counters["refused_connections"].inc(error.status_code == 503)
        return JSONResponse({"error": error.detail}, error.status_code, error.headers)

    async def health(self) -> dict[str, Any]:
        model = {"model": self.recognizer.path.name, "classes": self.recognizer.classes}
        return {"status": "ok", "version": __version__} | model

    async def metrics(self) -> Response:
        content = prometheus.generate_latest(self.registry)
        return Response(content, media_type=prometheus.CONTENT_TYPE_LATEST)

    async def predict(self, request: Request) -> JSONResponse:
        """Find faces in one image, or in those of a form, and predict their emotions."""
        size, announced = 0, int(request.headers.get("content-length", 0))

        async def receive() -> Message:
            nonlocal size
            if max(size, announced) > MAX_BODY:
                raise HTTPException(413, f"the request is too large; send at most {MAX_BODY} bytes")
            if (self.requests > MAX_REQUESTS and not size) or self.body_bytes > MAX_BODIES:
                raise HTTPException(503, "too busy; try again later", {"Retry-After": "5"})
            message = await request.receive()
            size += len(message.get("body", b""))
            self.body_bytes += len(message.get("body", b""))
            return message

        self.requests += 1
        try:
            async with asyncio.timeout(BODY_TIMEOUT):
                images, is_list = await _read(Request(request.scope, receive))
            run = asyncio.get_running_loop().run_in_executor
            results = [await run(self.threads, self._predict, *image) for image in images]
        except (TimeoutError, ClientDisconnect) as error:
            message = "the request did not arrive in time; send it again"
            raise HTTPException(408, message, {"Connection": "close"}) from error
        finally:
            self.requests -= 1
            self.body_bytes -= size
        if not is_list and "error" in results[0]:
            raise HTTPException(422, results[0]["error"])
        return JSONResponse(results if is_list else results[0])

    def _predict(self, name: str, file: Any) -> dict[str, Any]:
        try:
            faces = self.recognizer.predict(reading.read(file, name, FORMATS))
        except FerError as error:
            self.counters["failed_images"].inc()
            return {"file": name, "error": str(error)}
        self.counters["images"].inc()
        self.counters["faces"].inc(len(faces))
        return to_json((name, None, faces))


async def _read(request: Request) -> tuple[list[tuple[str, Any]], bool]:
    """Return names and files of the images, and whether the answer is a list."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/json":
        raise HTTPException(415, "JSON holds no picture; send a form, or a picture as the body")
    if kind != "multipart/form-data":
        return [("image", BytesIO(await request.body()))], False
    form = await request.form(max_files=MAX_IMAGES, max_fields=MAX_IMAGES)
    files = [file for _, file in form.multi_items() if not isinstance(file, str)]
    # A field in which no file was chosen has neither name nor content.
    images = [(file.filename or "image", file.file) for file in files if file.filename or file.size]
    if not images:
        raise HTTPException(400, f"the form has no images; send 1 to {MAX_IMAGES}")
    return images, True


class Connection(HttpToolsProtocol):
    """A connection on which headers must be short and arrive in time."""

    _head_left = math.inf  # bytes; without a limit outside the headers

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._timer = self.loop.call_later(HEAD_TIMEOUT, transport.close)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head_left = MAX_HEAD
        self._timer.cancel()
        self._timer = self.loop.call_later(HEAD_TIMEOUT, self.transport.close)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._head_left -= len(data)
        if self._head_left < 0:
            self.transport.close()

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        self._head_left = math.inf
        self._timer.cancel()
