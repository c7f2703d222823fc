import base64
import contextlib
import http.client
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from io import BytesIO

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


@pytest.fixture(scope="module")
def app():
    return App(Recognizer(threads=1))


@pytest.fixture(scope="module")
def port(app):
    """The port of a server that runs in a thread."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    port = listener.getsockname()[1]
    config = uvicorn.Config(app, http=Connection, ws="none", lifespan="off", log_level="critical")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    yield port
    server.should_exit = True
    thread.join()


@pytest.fixture
def ask(port):
    """Send a request; return the status and the JSON, or the text of another answer."""

    def ask(method, path, body=None, headers=None):
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            content = answer.read().decode()
            is_json = answer.headers["Content-Type"] == "application/json"
            return answer.status, json.loads(content) if is_json else content

    return ask


def raw(port, *parts):
    """Send bytes; return all that the server answers until it closes the connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        for part in parts:
            connection.sendall(part)
        return b"".join(iter(lambda: connection.recv(1 << 16), b""))


def part(head, content=b"x"):
    return b"--x\r\nContent-Disposition: form-data; " + head + b"\r\n\r\n" + content + b"\r\n"


def form(*files):
    """A form of files: pairs of name and content."""
    heads = [f'name="a"; filename="{name}"'.encode() for name, _ in files]
    parts = [part(head, content) for head, (_, content) in zip(heads, files, strict=True)]
    return b"".join(parts) + b"--x--\r\n"


def expected(name):
    faces = Recognizer().predict(PHOTO)
    return json.loads(json.dumps(to_json((name, None, faces))))


def picture(kind, *size):
    content = BytesIO()
    Image.new("1" if kind == "png" else "RGB", size).save(content, kind)
    return content.getvalue()


def test_picture_as_the_body(ask):
    assert ask("POST", "/predict", CONTENT) == (200, expected("image"))
    of_curl = {"Content-Type": "application/x-www-form-urlencoded"}
    assert ask("POST", "/predict", CONTENT, of_curl) == (200, expected("image"))


def test_form_of_several_pictures(ask):
    files = form(("ä b中.jpg", CONTENT), ("b.txt", b"text"), ("", b""), ("c.jpg", CONTENT))
    status, results = ask("POST", "/predict", part(b'name="note"', b"hello") + files, FORM)
    assert status == 200
    error = "b.txt: is not an image, or of a kind that cannot be read"
    assert results == [
        *(expected("ä b中.jpg"), {"file": "b.txt", "error": error}, expected("c.jpg"))
    ]


def test_base64_in_json(ask):
    text = base64.b64encode(CONTENT).decode()
    lines = base64.encodebytes(CONTENT).decode()
    in_url = text.translate(str.maketrans("+/", "-_")).rstrip("=")
    body = json.dumps({"images": [text, f"data:image/jpeg;base64,{text}", lines, in_url]})
    status, results = ask("POST", "/predict", body, JSON)
    assert (status, results) == (200, [expected(f"image {number}") for number in range(4)])


def test_heic_is_read(ask):
    pytest.importorskip("pillow_heif")
    assert ask("POST", "/predict", picture("heif", 64, 64)) == (200, {"file": "image", "faces": []})


def counts(ask):
    lines = ask("GET", "/metrics")[1].splitlines()
    return {line.split()[0]: float(line.split()[1]) for line in lines if line[0] != "#"}


def test_page_health_metrics_and_documentation(ask):
    status, page = ask("GET", "/")
    assert (status, "<title>fer serve</title>" in page) == (200, True)
    status, health = ask("GET", "/health")
    assert (status, health["status"], len(health["classes"])) == (200, "ok", 7)
    before = counts(ask)
    assert ask("POST", "/predict", CONTENT)[0] == 200
    assert ask("POST", "/predict", b"no picture")[0] == 422
    difference = {name: value - before[name] for name, value in counts(ask).items()}
    assert difference.pop("fer_request_seconds_total") > 0
    assert difference.pop("fer_refused_connections_total") == 0
    assert difference.pop("fer_requests_total") >= 3
    assert len(difference) == 4
    assert set(difference.values()) == {1}  # an error, an image, a failed one and a face
    assert "swagger" in ask("GET", "/docs")[1]
    predict = ask("GET", "/openapi.json")[1]["paths"]["/predict"]["post"]
    assert predict["requestBody"]["content"]["application/json"]["example"]["images"]
    assert predict["responses"]["200"]["content"]["application/json"]["examples"]


@pytest.mark.parametrize(
    ("body", "headers", "status", "message"),
    [
        (b"", {}, 422, "image: is not an image"),
        (CONTENT[:5000], {}, 422, "image: cannot be read"),
        (picture("png", 9000, 9000), {}, 422, "image: has more than 50 megapixels"),
        (picture("dds", 8, 8), {}, 422, "image: is not an image"),  # of a slow format
        (b"{", JSON, 400, "the JSON is not"),
        (b"[]", JSON, 400, "the JSON is not"),
        (b"[" * 100_000, JSON, 400, "the JSON is not"),
        (b'{"images": {"YWJj": 1}}' * 2, JSON, 400, "the JSON is not"),
        (b'{"images": [1]}', JSON, 400, "the JSON is not"),
        (b'{"images": [' + b"[]," * 100_000 + b"[]]}", JSON, 400, "too many parts"),
        (b'{"images": ["YWJjZ"]}', JSON, 400, "the JSON is not"),
        (b'{"images": []}', JSON, 400, "the request has 0 images; send 1 to 64"),
        (json.dumps({"images": [""] * 65}), JSON, 400, "the request has 65 images"),
        (b"no form", FORM, 400, "multipart"),
        (b"x", {"Content-Type": "multipart/form-data"}, 400, "boundary"),
        (form(("", b"")), FORM, 400, "has 0 images"),
        (form(*[("a.jpg", b"x")] * 65), FORM, 400, "Maximum number of files is 64"),
        (form(("a " * 1_000_000, b"x")), FORM, 400, "multipart"),
    ],
)
def test_bad_requests_get_one_clear_error(ask, body, headers, status, message):
    result, answer = ask("POST", "/predict", body, headers)
    assert result == status
    assert list(answer) == ["error"]
    assert message in answer["error"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("POST", "/none", 404), ("GET", "/none", 404), ("GET", "/predict", 405), ("PUT", "/", 405)],
)
def test_other_pages_and_methods(ask, method, path, status):
    result, answer = ask(method, path)
    assert (result, list(answer)) == (status, ["error"])


def test_fault_of_ours_is_status_500(ask, monkeypatch):
    monkeypatch.setattr(Recognizer, "predict", lambda *_: 1 / 0)
    assert ask("POST", "/predict", CONTENT) == (500, {"error": "internal error; see the log"})


@pytest.mark.parametrize("name", ["MAX_BODIES", "MAX_REQUESTS"])
def test_full_server_refuses_at_once(app, ask, port, monkeypatch, name):
    monkeypatch.setattr(serving, name, 0 if name == "MAX_REQUESTS" else -1)
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\nConnection: close\r\n"
    answer = raw(port, head + b"Expect: 100-continue\r\n\r\n")  # the body is not asked for
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"retry-after: 5\r\n" in answer
    assert ask("GET", "/health")[0] == 200
    monkeypatch.undo()
    assert ask("POST", "/predict", CONTENT)[0] == 200
    assert (app.requests, app.body_bytes) == (0, 0)


@pytest.mark.parametrize("headers", [FORM, JSON, {}])
def test_large_body_is_refused_while_it_is_read(app, ask, headers):
    def chunks():
        yield part(b'name="a"; filename="a"')[:-3]
        yield from [bytes(1 << 20)] * 40

    assert ask("POST", "/predict", chunks(), headers)[0] == 413
    assert ask("POST", "/predict", bytes(33 << 20), headers)[0] == 413
    assert app.body_bytes == 0


def test_error_arrives_although_the_body_is_not_read(port):
    for path, status in (("/predict", 413), ("/none", 404)):
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
            connection.request("POST", path, bytes(40_000_000))
            answer = connection.getresponse()
            assert (answer.status, "error" in json.load(answer)) == (status, True)


def test_body_in_chunks(port):
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
    body = b"".join(b"%x\r\n%b\r\n" % (len(c), c) for c in (CONTENT[:999], CONTENT[999:], b""))
    answer = raw(port, head + b"Connection: close\r\n\r\n", body)
    assert json.loads(answer.partition(b"\r\n\r\n")[2]) == expected("image")


def test_slow_bodies_end_with_408_and_leave_the_server_answering(port, ask, monkeypatch):
    monkeypatch.setattr(serving, "BODY_TIMEOUT", 5.0)
    with contextlib.ExitStack() as stack:
        slow = [
            stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=60))
            for _ in range(256)
        ]
        for connection in slow:
            connection.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc")
        assert ask("GET", "/health")[0] == 200
        for connection in slow:
            assert connection.recv(1 << 16).startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize(
    "content",
    [
        b"nonsense\r\n\r\n",
        b"GET /health HTTP/1.1\r\nContent-Length : 26\r\n\r\n",
        b"POST /predict HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST /predict HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    ],
)
def test_what_is_no_request(port, content):
    answer = raw(port, content)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]


def test_endless_headers_end_the_connection(port, ask):
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nA: ")
        with pytest.raises(ConnectionError):
            any(connection.sendall(b"x" * 1000) for _ in itertools.repeat(0))
    assert ask("GET", "/health")[0] == 200


def test_slow_headers_end_the_connection(port, monkeypatch):
    monkeypatch.setattr(serving, "HEAD_TIMEOUT", 0.5)
    assert raw(port) == b""
    assert raw(port, b"GET /health HTTP/1.1\r\nA: ") == b""
    answer = raw(port, b"GET /health HTTP/1.1\r\n\r\nGET /health HTTP/1.1\r\nA: ")
    assert answer.count(b"HTTP/1.1 200 OK") == 1


def test_requests_take_turns(app, ask, monkeypatch):
    """A single picture does not wait for all pictures of a request that came before."""
    sizes, has_begun, is_sent = [], threading.Event(), threading.Event()
    predict = Recognizer.predict

    def note(self, image):
        sizes.append(image.size)
        has_begun.set()
        if len(sizes) == 2:
            is_sent.wait(60)  # for the single picture
            time.sleep(1)
        return predict(self, image)

    monkeypatch.setattr(Recognizer, "predict", note)
    monkeypatch.setattr(app, "threads", ThreadPoolExecutor(1))
    with ThreadPoolExecutor(2) as clients:
        body = form(*[("a.png", picture("png", 60, 60))] * 20)
        many = clients.submit(ask, "POST", "/predict", body, FORM)
        assert has_begun.wait(60)
        single = clients.submit(ask, "POST", "/predict", picture("png", 61, 61))
        is_sent.set()
        assert (single.result()[0], many.result()[0]) == (200, 200)
    assert len(sizes) == 21
    assert sizes.index((61, 61)) < 10


def test_clients_get_the_same_answers(ask):
    answer = expected("image")
    with ThreadPoolExecutor(12) as clients:
        answers = clients.map(lambda _: ask("POST", "/predict", CONTENT), range(24))
    assert list(answers) == [(200, answer)] * 24


def start(*options, **variables):
    """Start `fer serve`; return the process and its port."""
    process = subprocess.Popen(
        [sys.executable, "-m", "fer", "serve", "--port", "0", *options],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | variables,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    return process, int(process.stdout.readline().split()[0].rpartition(":")[2])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stop_answers_what_has_begun(number):
    process, port = start()
    head = b"POST /predict HTTP/1.1\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n"
    address = ("127.0.0.1", port)
    with socket.create_connection(address), socket.create_connection(address) as connection:
        connection.sendall(head % len(CONTENT))
        assert connection.recv(100).startswith(b"HTTP/1.1 100 ")  # it has begun
        process.send_signal(number)
        connection.sendall(CONTENT)
        answer = b"".join(iter(lambda: connection.recv(1 << 16), b""))
        out, err = process.communicate(timeout=60)  # although a connection is open
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert len(json.loads(answer.partition(b"\r\n\r\n")[2])["faces"]) == 1
    assert (process.returncode, err) == (0, "")
    assert out == "stopped after 1 requests and 1 images\n"


def test_token_origins_and_log():
    process, port = start("--cors", "https://example.org", "--log", FER_TOKEN="ö secret")
    head = b"%s HTTP/1.1\r\nConnection: close\r\nOrigin: %s\r\nAuthorization: %s\r\n\r\n"
    theirs, ours = b"https://example.org", "Bearer ö secret".encode("latin-1")
    for request, origin, token, status in (
        (b"GET /health", theirs, b"", 200),
        (b"GET /metrics", theirs, b"", 401),
        (b"GET /metrics", theirs, b"Bearer wrong", 401),
        (b"GET /metrics", b"https://example.com", ours, 200),
        (b"POST /predict", theirs, ours, 422),
    ):
        answer = raw(port, head % (request, origin, token))
        assert answer.startswith(b"HTTP/1.1 %d " % status)
        assert (b"access-control-allow-origin: %s\r\n" % theirs in answer) == (origin == theirs)
    process.terminate()
    out, _ = process.communicate(timeout=60)
    lines = [line.partition('"')[2] for line in out.splitlines() if "HTTP" in line]
    assert lines[-1] == 'POST /predict HTTP/1.1" 422 Unprocessable Content'
    assert len(lines) == 5


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (("--host", ""), "--host is empty, which would mean all networks; write 0.0.0.0 for that"),
        (("--port", "99999"), "--host 127.0.0.1 --port 99999: "),
        (("--token", ""), "the token is empty"),
        ((), "Address already in use; use another one"),
    ],
)
def test_wrong_options_are_one_line(port, monkeypatch, options, error):
    monkeypatch.setattr(sys, "argv", ["fer", "serve", *(options or ("--port", str(port)))])
    with pytest.raises(SystemExit, match=error):
        main()
