import http.client
import itertools
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from io import BytesIO
from pathlib import Path

import pytest
import uvicorn
from PIL import Image
from test_recognizer import PHOTO

from fer import Recognizer
from fer.cli import main
from fer.predict.table import to_json
from fer.serve import server as serving
from fer.serve.server import App, Connection

CONTENT = PHOTO.read_bytes()
FORM = {"Content-Type": "multipart/form-data; boundary=x"}
JSON = {"Content-Type": "application/json"}
ORIGIN = "https://example.org"
TOKEN = {"Authorization": "Bearer ö secret"}
POST = "POST /predict HTTP/1.1\r\nAuthorization: Bearer ö secret\r\n".encode("latin-1")


@pytest.fixture(scope="module")
def app():
    return App(Recognizer(threads=1), [ORIGIN], "ö secret", threads=2)


@contextmanager
def serve(app):
    """Run a server in a thread; yield its address."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    address = listener.getsockname()
    config = uvicorn.Config(app, http=Connection, ws="none", lifespan="off", log_level="critical")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    yield address
    server.should_exit = True
    thread.join()


@pytest.fixture(scope="module")
def address(app):
    with serve(app) as address:
        yield address


@pytest.fixture
def ask(address):
    """Send a request; return the status and the JSON, or the text of another answer."""

    def ask(method, path, body=None, headers=None):
        with closing(http.client.HTTPConnection(*address, timeout=60)) as connection:
            connection.request(method, path, body, TOKEN | (headers or {}))
            answer = connection.getresponse()
            content = answer.read().decode()
            is_json = content and answer.headers["Content-Type"] == "application/json"
            return answer.status, json.loads(content) if is_json else content

    return ask


def raw(address, content):
    """Send bytes; return all that the server answers until it closes the connection."""
    with socket.create_connection(address, timeout=60) as connection:
        connection.sendall(content)
        return b"".join(iter(lambda: connection.recv(1 << 16), b""))


def form(*files):
    """A form with a field of text and files: pairs of name and content."""
    head = '--x\r\nContent-Disposition: form-data; name="a"'
    parts = [f'{head}; filename="{name}"\r\n\r\n'.encode() + data + b"\r\n" for name, data in files]
    return f"{head}\r\n\r\nhello\r\n".encode() + b"".join(parts) + b"--x--\r\n"


def expected(name):
    return json.loads(json.dumps(to_json((name, None, Recognizer().predict(PHOTO)))))


def picture(kind, *size):
    content = BytesIO()
    Image.new("1" if kind == "png" else "RGB", size).save(content, kind)
    return content.getvalue()


def test_picture_as_the_body(ask):
    assert ask("POST", "/predict", CONTENT) == (200, expected("image"))
    of_curl = {"Content-Type": "application/x-www-form-urlencoded"}
    assert ask("POST", "/predict", iter([CONTENT[:999], CONTENT[999:]]), of_curl)[0] == 200
    if "HEIF" in Image.registered_extensions().values():  # with pillow-heif
        assert ask("POST", "/predict", picture("heif", 64, 64))[0] == 200


def test_several_pictures_in_a_form(ask):
    body = form(("ä b中.jpg", CONTENT), ("b.txt", b"text"), ("", b""))
    error = "b.txt: is not an image, or of a kind that cannot be read"
    results = [expected("ä b中.jpg"), {"file": "b.txt", "error": error}]
    assert ask("POST", "/predict", body, FORM) == (200, results)


def test_page_health_metrics_and_documentation(ask):
    assert "<title>Emotions of faces</title>" in ask("GET", "/")[1]
    assert "fetch(" in ask("GET", "/engine.js")[1]
    status, health = ask("GET", "/health")
    assert (status, health["status"], len(health["classes"])) == (200, "ok", 7)
    assert ask("HEAD", "/health") == (200, "")
    ask("POST", "/predict", CONTENT)
    ask("POST", "/predict", b"no picture")
    lines = [line for line in ask("GET", "/metrics")[1].splitlines() if line[0] != "#"]
    values = {name: float(value) for name, value in map(str.split, lines)}
    assert values.pop("fer_refused_connections_total") == 0
    assert len(values) == 6
    assert min(values.values()) > 0
    assert "swagger" in ask("GET", "/docs")[1]
    predict = ask("GET", "/openapi.json")[1]["paths"]["/predict"]["post"]
    assert predict["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert predict["responses"]["200"]["content"]["application/json"]["examples"]


@pytest.mark.parametrize(
    ("body", "headers", "status", "message"),
    [
        (b"", {}, 422, "image: is not an image"),
        (CONTENT[:5000], {}, 422, "image: cannot be read"),
        (picture("png", 9000, 9000), {}, 422, "image: has more than 50 megapixels"),
        (picture("dds", 8, 8), {}, 422, "image: is not an image"),  # of a slow format
        (b'{"images": [""]}', JSON, 415, "JSON holds no picture; send a form"),
        (form(("", b"")), FORM, 400, "the form has no images; send 1 to 64"),
        (b"no form", FORM, 400, "multipart"),
        (b"x", {"Content-Type": "multipart/form-data"}, 400, "boundary"),
        (form(*[("a.jpg", b"x")] * 65), FORM, 400, "Maximum number of files is 64"),
        (form(("a " * 1_000_000, b"x")), FORM, 400, "multipart"),
        (bytes(40 << 20), {}, 413, "send at most"),
        (itertools.repeat(bytes(1 << 20), 40), {}, 413, "send at most"),  # in chunks
        (itertools.chain([form(("a", b""))[:-9]], [bytes(40 << 20)]), FORM, 413, "send at most"),
    ],
)
def test_bad_requests_get_one_clear_error(app, ask, body, headers, status, message):
    result, answer = ask("POST", "/predict", body, headers)
    assert (result, list(answer)) == (status, ["error"])
    assert message in answer["error"]
    assert ask("GET", "/health")[0] == 200  # it goes on
    assert (app.requests, app.body_bytes) == (0, 0)


def test_other_pages_and_methods(ask):
    assert ask("POST", "/none", bytes(40 << 20)) == (404, {"error": "Not Found"})
    assert ask("GET", "/predict") == (405, {"error": "Method Not Allowed"})


def test_installation_without_page(monkeypatch, tmp_path):
    monkeypatch.setattr(serving, "PAGE", tmp_path / "none")
    with serve(App(Recognizer(threads=1), [], None, threads=1)) as address:
        answer = raw(address, b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 404 ")
    assert answer.endswith(b'{"error":"this installation has no page; post pictures to /predict"}')


def test_token_and_origins(address):
    head = "%s HTTP/1.1\r\nConnection: close\r\nOrigin: %s\r\nAuthorization: Bearer wrong\r\n\r\n"
    for request, origin, status in (
        ("GET /health", ORIGIN, b" 200 "),
        ("GET /health", "https://example.com", b" 200 "),
        ("GET /metrics", ORIGIN, b" 401 "),
        ("POST /predict", ORIGIN, b" 401 "),
    ):
        answer = raw(address, (head % (request, origin)).encode())
        assert answer[8:].startswith(status)
        assert (b"access-control-allow-origin" in answer) == (origin == ORIGIN)


def test_fault_of_ours_is_status_500(ask, monkeypatch):
    monkeypatch.setattr(Recognizer, "predict", lambda *_: 1 / 0)
    assert ask("POST", "/predict", CONTENT) == (500, {"error": "internal error; see the log"})


@pytest.mark.parametrize("name", ["requests", "body_bytes"])
def test_full_server_refuses_before_the_body_is_read(app, address, ask, monkeypatch, name):
    monkeypatch.setattr(app, name, 1 << 30)
    head = b"Content-Length: 9\r\nConnection: close\r\nExpect: 100-continue\r\n\r\n"
    answer = raw(address, POST + head)
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"retry-after: 5\r\n" in answer
    assert ask("GET", "/health")[0] == 200


def test_slow_bodies_end_with_408_and_leave_the_server_answering(address, ask, monkeypatch):
    monkeypatch.setattr(serving, "BODY_TIMEOUT", 5.0)
    with ExitStack() as stack:
        clients = [
            stack.enter_context(socket.create_connection(address, timeout=60)) for _ in range(256)
        ]
        for client in clients:
            client.sendall(POST + b"Content-Length: 9\r\n\r\nabc")
        assert ask("GET", "/health")[0] == 200
        assert all(client.recv(1 << 16).startswith(b"HTTP/1.1 408 ") for client in clients)


@pytest.mark.parametrize("head", [b"no", b"Content-Length: 1\r\nContent-Length: 2", b"A : b"])
def test_what_is_no_request(address, head):
    answer = raw(address, POST + head + b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400 ")


def test_slow_or_endless_headers_end_the_connection(address, monkeypatch):
    with socket.create_connection(address, timeout=60) as client, pytest.raises(ConnectionError):
        any(client.sendall(b"GET / HTTP/1.1\r\nA: ") for _ in itertools.count())
    monkeypatch.setattr(serving, "HEAD_TIMEOUT", 0.5)
    assert raw(address, b"") == b""
    answer = raw(address, b"GET /health HTTP/1.1\r\n\r\nGET /health HTTP/1.1\r\nA: ")
    assert answer.count(b"HTTP/1.1 200 OK") == 1


def test_requests_take_turns(app, ask, monkeypatch):
    """A single picture does not wait for all pictures of a request that came before."""
    sizes, has_begun = [], threading.Event()

    def predict(self, image):
        sizes.append(image.size)
        has_begun.set()
        time.sleep(0.1)
        return []

    monkeypatch.setattr(Recognizer, "predict", predict)
    monkeypatch.setattr(app, "threads", ThreadPoolExecutor(1))
    with ThreadPoolExecutor(1) as client:
        body = form(*[("a.png", picture("png", 60, 60))] * 60)
        many = client.submit(ask, "POST", "/predict", body, FORM)
        assert has_begun.wait(60)
        assert ask("POST", "/predict", picture("png", 61, 61))[0] == 200
        assert many.result()[0] == 200
    assert len(sizes) == 61
    assert sizes.index((61, 61)) < 59


@pytest.fixture
def start():
    """Start `fer serve` with options; return the process and its address."""
    processes = []

    def start(*options):
        process = subprocess.Popen(
            [sys.executable, "-m", "fer", "serve", "--port", "0", *options],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=os.environ | {"FER_TOKEN": "secret"},
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )  # fmt: skip
        processes.append(process)
        line = process.stdout.readline()
        return process, ("127.0.0.1", int(line.split()[0].rpartition(":")[2]))

    yield start
    for process in processes:
        process.terminate()
        process.communicate(timeout=60)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("workers", ["1", "2"])
def test_stop_answers_what_has_begun(start, number, workers):
    process, address = start("--log", "--workers", workers)
    with socket.create_connection(address), socket.create_connection(address) as connection:
        head = b"Content-Length: %d\r\nExpect: 100-continue\r\nAuthorization: Bearer secret\r\n\r\n"
        connection.sendall(b"POST /predict HTTP/1.1\r\n" + head % len(CONTENT))
        assert connection.recv(100).startswith(b"HTTP/1.1 100 ")  # it has begun
        process.send_signal(number)
        connection.sendall(CONTENT)
        answer = b"".join(iter(lambda: connection.recv(1 << 16), b""))
        out, err = process.communicate(timeout=60)  # although a connection is open
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert (process.returncode, err) == (0, "")
    assert '"POST /predict HTTP/1.1" 200' in out
    assert out.endswith("\nstopped\n")


def post(address):
    with closing(http.client.HTTPConnection(*address, timeout=60)) as connection:
        connection.request("POST", "/predict", CONTENT, {"Authorization": "Bearer secret"})
        return connection.getresponse().status


def test_workers_share_their_counters(start):
    _, address = start("--workers", "2")
    with ThreadPoolExecutor(8) as clients:
        assert set(clients.map(post, [address] * 32)) == {200}
    with closing(http.client.HTTPConnection(*address, timeout=60)) as connection:
        connection.request("GET", "/metrics", headers={"Authorization": "Bearer secret"})
        assert "\nfer_images_total 32.0\n" in connection.getresponse().read().decode()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_with_64_clients(start):
    process, address = start()
    with ThreadPoolExecutor(64) as clients:
        assert set(clients.map(post, [address] * 128)) == {200}
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process.pid}/status").read_text())[1]
    assert int(peak) < 250_000


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (("--host", ""), "--host is empty, which would mean all networks; write 0.0.0.0 for that"),
        (("--port", "99999"), "--host 127.0.0.1 --port 99999: "),
        (("--token", ""), "the token is empty"),
        (("--workers", "0"), "--workers 0: use at least 1"),
        ((), "Address already in use.*; use another one"),
    ],
)
def test_wrong_options_are_one_line(address, monkeypatch, options, error):
    options = options or ("--port", str(address[1]))
    monkeypatch.setattr(sys, "argv", ["fer", "serve", *options])
    with pytest.raises(SystemExit, match=error):
        main()


def test_missing_package_is_one_line(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["fer", "serve"])
    monkeypatch.setitem(sys.modules, "uvicorn", None)  # which makes its import fail
    with pytest.raises(SystemExit, match=r"needs uvicorn; pip install 'fer-pipeline\[serve\]'"):
        main()
