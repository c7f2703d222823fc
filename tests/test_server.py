import base64
import http.client
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from io import BytesIO

import pytest
from PIL import Image
from test_recognizer import PHOTO

from fer import Recognizer
from fer.core.errors import FerError
from fer.predict.table import to_json
from fer.serve import server as serving
from fer.serve.server import Server


@pytest.fixture
def server():
    started = Server(("127.0.0.1", 0), Recognizer(threads=1))
    threading.Thread(target=started.serve_forever, daemon=True).start()
    yield started
    started.stop()


@pytest.fixture
def ask(server):
    """Send a request; return the status and the JSON, or the text of another answer."""

    def ask(method, path, body=None, **headers):
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        with closing(http.client.HTTPConnection("127.0.0.1", server.server_port)) as connection:
            connection.request(method, path, body, names)
            response = connection.getresponse()
            content = response.read().decode()
            is_json = response.getheader("Content-Type") == "application/json"
            return response.status, json.loads(content) if is_json else content

    return ask


FORM = {"Content_Type": "multipart/form-data; boundary=x"}
JSON = {"Content_Type": "application/json"}


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


def test_picture_as_the_body(ask):
    assert ask("POST", "/predict", PHOTO.read_bytes()) == (200, expected("image"))


def test_form_of_several_pictures(ask):
    body = form(("a.jpg", PHOTO.read_bytes()), ("b.txt", b"text"), ("c.jpg", PHOTO.read_bytes()))
    status, results = ask("POST", "/predict", body, **FORM)
    assert status == 200
    assert results[0] == expected("a.jpg")
    assert results[1]["error"] == "b.txt: is not an image, or of a kind that cannot be read"
    assert results[2] == expected("c.jpg")


@pytest.mark.parametrize(
    ("head", "name"),
    [
        ('name="a"; filename="ä b中.jpg"', "ä b中.jpg"),
        ("name=\"a\"; filename*=UTF-8''%C3%A4%20b.jpg", "ä b.jpg"),
        ("name=\"a\"; filename*=ISO-8859-1''%E4.jpg", "ä.jpg"),
        ('name="a"; filename = "b.jpg"', "b.jpg"),
        ('name="a"; FileName="say \\"hi\\".jpg"', 'say "hi".jpg'),
        ('name="a"; filename="C:\\a.jpg"', "C:\\a.jpg"),
        ('name="m"; filename=a.eml\r\nContent-Type: message/rfc822', "a.eml"),
        ('name="a"\r\nContent-Type: image/png', "image 1"),
    ],
)
def test_names_of_files_in_a_form(ask, head, name):
    body = part(b'name="note"', b"hello") + part(head.encode()) + form(("last.jpg", b"x"))
    kind = 'Multipart/Form-Data; boundary="x"'
    status, results = ask("POST", "/predict", body, Content_Type=kind)
    assert status == 200
    assert [result["file"] for result in results] == [name, "last.jpg"]  # no field, no part lost


def test_base64_in_json(ask):
    text = base64.b64encode(PHOTO.read_bytes()).decode()
    lines = base64.encodebytes(PHOTO.read_bytes()).decode()
    in_url = text.translate(str.maketrans("+/", "-_")).rstrip("=")
    body = json.dumps({"images": [text, f"data:image/jpeg;base64,{text}", lines, in_url]})
    status, results = ask("POST", "/predict", body, **JSON)
    assert status == 200
    assert results == [expected(f"image {number}") for number in range(4)]


def test_page_health_and_metrics(ask):
    status, page = ask("GET", "/")
    assert status == 200
    assert "<title>fer serve</title>" in page
    status, health = ask("GET", "/health")
    assert (status, health["status"], len(health["classes"])) == (200, "ok", 7)
    ask("POST", "/predict", PHOTO.read_bytes())
    _, metrics = ask("GET", "/metrics")
    assert "fer_images_total 1\n" in metrics
    assert "fer_faces_total 1\n" in metrics


def dds():
    """A picture of a format that Pillow reads, but the server does not, because it is slow."""
    content = BytesIO()
    Image.new("RGB", (8, 8)).save(content, "dds")
    return content.getvalue()


def png(width, height):
    content = BytesIO()
    Image.new("1", (width, height)).save(content, "png")
    return content.getvalue()


@pytest.mark.parametrize(
    ("body", "headers", "status", "message"),
    [
        (b"", {}, 422, "image: is not an image"),
        (b"no picture", {}, 422, "image: is not an image"),
        (PHOTO.read_bytes()[:5000], {}, 422, "image: cannot be read"),
        (png(9000, 9000), {}, 422, "image: has more than 50 megapixels"),
        (dds(), {}, 422, "image: is not an image"),
        (b"x", {"Content_Length": "-1"}, 411, "send a number"),
        (b"x", {"Content_Length": "9" * 5000}, 411, "send a number"),
        (b"x", {"Content_Length": "99999999999"}, 413, "send at most"),
        (b"{", JSON, 400, "the JSON is not"),
        (b"[]", JSON, 400, "the JSON is not"),
        (b"[" * 100_000, JSON, 400, "the JSON is not"),
        (b'{"images": {"YWJj": 1}}', JSON, 400, "the JSON is not"),
        (b'{"images": [' + b"[]," * 100_000 + b"[]]}", JSON, 400, "the JSON is not"),
        (b'{"images": ["%%%"]}', JSON, 400, "image 0 is not base64"),
        (b'{"images": []}', JSON, 400, "the request has 0 images; send 1 to 64"),
        (b"no form", FORM, 400, "the request has 0 images"),
        (form(("", b"")), FORM, 400, "has 0 images"),
        (form(*[("a.jpg", b"x")] * 65), FORM, 400, "has 65 images; send 1 to"),
        (form(*[("a.jpg", b"x")] * 129), FORM, 400, "has too many parts"),
        (form(("a.jpg", b"x"))[: -len(b"--x--\r\n")], FORM, 400, "without its closing mark"),
        (b"--x\r\nno head\r\n--x--\r\n", FORM, 400, "part 0 of the form has no"),
        (form(("a " * 1_000_000, b"x")), FORM, 400, "part 0 of the form has no"),
    ],
)
def test_bad_requests_get_one_clear_error(ask, body, headers, status, message):
    result, answer = ask("POST", "/predict", body, **headers)
    assert result == status
    assert list(answer) == ["error"]
    assert message in answer["error"]
    assert ask("GET", "/health")[0] == 200  # it goes on


@pytest.mark.parametrize(
    ("method", "path", "status", "message"),
    [
        ("POST", "/none", 404, "no such page"),
        ("GET", "/none", 404, "no such page"),
        ("GET", "/predict", 404, "no such page"),
        ("PUT", "/predict", 501, "Unsupported method"),
    ],
)
def test_other_pages_and_methods(ask, method, path, status, message):
    result, answer = ask(method, path, b"x" if method in ("POST", "PUT") else None)
    assert result == status
    assert message in answer["error"]


def raw(server, content):
    """Send bytes; return all that the server answers until it closes the connection."""
    with socket.create_connection(("127.0.0.1", server.server_port)) as connection:
        connection.sendall(content)
        return b"".join(iter(lambda: connection.recv(1 << 16), b""))


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (b"Content-Length: 0\r\nContent-Length: 23", b" 200 "),
        (b"Content-Length: 26", b" 200 "),
        (b"nonsense\r\nContent-Length: 26", b" 400 "),
        (b"Content-Length : 26", b" 400 "),
    ],
)
def test_body_is_not_taken_for_a_request(server, headers, status):
    start = b"GET /health HTTP/1.1\r\nHost: x\r\n"
    answer = raw(server, start + headers + b"\r\n\r\nGET /metrics HTTP/1.1\r\n\r\n")
    assert answer.count(b"HTTP/1.1 ") == 1
    assert status in answer


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"nonsense\r\n\r\n", b" 400 "),
        (b"GET / HTTP/9.9\r\n\r\n", b" 505 "),
        (b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\n\r\n", b" 414 "),
        (b"POST /predict HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", b" 411 "),
        (b"GET /health HTTP/1.1\r\n" + b"a: b\r\n" * 200 + b"\r\n", b" 431 "),
    ],
)
def test_what_is_no_request(server, content, status):
    answer = raw(server, content)
    assert status in answer.partition(b"\r\n")[0]
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]


def test_body_is_asked_for_only_if_it_is_wanted(server):
    head = b"POST %s HTTP/1.1\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n"
    assert raw(server, head % (b"/predict", 99_999_999)).startswith(b"HTTP/1.1 413 ")
    assert raw(server, head % (b"/none", 5)).startswith(b"HTTP/1.1 404 ")
    answer = raw(server, head % (b"/predict", 5) + b"hello")
    assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 422 ")


def test_body_that_does_not_come_ends_the_connection(server, monkeypatch):
    monkeypatch.setattr(serving._Handler, "timeout", 0.3)
    raw(server, b"POST /predict HTTP/1.1\r\nContent-Length: 10\r\n\r\nabc")  # not forever


def test_slow_headers_end_the_connection(server, monkeypatch):
    monkeypatch.setattr(serving, "TIMEOUT", 0.5)
    with socket.create_connection(("127.0.0.1", server.server_port)) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nA: ")
        connection.settimeout(0.2)
        is_open = True
        with suppress(ConnectionError):
            while is_open:
                try:
                    is_open = connection.recv(1 << 16) != b""
                except TimeoutError:
                    connection.sendall(b"x")


def test_head_has_no_body(server):
    answer = raw(server, b"HEAD /health HTTP/1.1\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert answer.endswith(b"\r\n\r\n")


@pytest.mark.parametrize("path", ["/predict", "/none"])
def test_errors_arrive_although_the_body_is_not_read(ask, path):
    for _ in range(3):
        status, answer = ask("POST", path, bytes(40_000_000))
        assert status == (413 if path == "/predict" else 404)
        assert "error" in answer


def test_fault_of_ours_is_status_500(ask, monkeypatch, capsys):
    def fail(*_, **__):
        raise ZeroDivisionError("no such")

    monkeypatch.setattr(Recognizer, "predict", fail)
    status, answer = ask("POST", "/predict", PHOTO.read_bytes())
    assert (status, answer) == (500, {"error": "internal error; see the log"})
    assert "ZeroDivisionError" in capsys.readouterr().err
    assert ask("GET", "/health")[0] == 200


def test_bodies_share_the_memory(ask, server, monkeypatch):
    monkeypatch.setattr(serving, "MAX_BODIES", 10_000)
    assert ask("POST", "/predict", PHOTO.read_bytes())[0] == 503
    monkeypatch.setattr(serving, "MAX_BODIES", 1_000_000)
    for _ in range(40):  # each gives its memory back
        assert ask("POST", "/predict", PHOTO.read_bytes())[0] == 200


def test_stop_does_not_wait_for_slow_clients(monkeypatch):
    monkeypatch.setattr(serving, "GRACE", 0.5)
    monkeypatch.setattr(serving._Handler, "timeout", None)
    started = Server(("127.0.0.1", 0), Recognizer(threads=1))
    threading.Thread(target=started.serve_forever, daemon=True).start()
    address = ("127.0.0.1", started.server_port)
    with socket.create_connection(address) as headers, socket.create_connection(address) as body:
        headers.sendall(b"GET /health HTTP/1.1\r\nA: ")
        body.sendall(b"POST /predict HTTP/1.1\r\nContent-Length: 1000\r\n\r\nabc")
        time.sleep(0.3)  # until both are accepted
        started.stop()  # not forever


def test_too_many_connections(server, ask, monkeypatch):
    monkeypatch.setattr(serving, "MAX_CONNECTIONS", 2)
    address = ("127.0.0.1", server.server_port)
    with socket.create_connection(address), socket.create_connection(address):
        time.sleep(0.3)
        status, answer = ask("GET", "/health")
        assert (status, answer) == (503, {"error": "too many connections; try again later"})
    time.sleep(0.3)
    assert ask("GET", "/health")[0] == 200


def test_waits_for_a_free_core_but_not_forever(server, ask, monkeypatch):
    monkeypatch.setattr(serving, "TIMEOUT", 0.2)
    server.free_cores = threading.Semaphore(0)
    status, answer = ask("POST", "/predict", PHOTO.read_bytes())
    assert (status, answer) == (503, {"error": "too busy; try again later"})


def test_threads_get_the_same_answers(ask):
    content, answer = PHOTO.read_bytes(), expected("image")
    with ThreadPoolExecutor(12) as pool:
        answers = pool.map(lambda _: ask("POST", "/predict", content), range(12))
    assert list(answers) == [(200, answer)] * 12


def test_port_that_is_taken(server):
    with pytest.raises(FerError, match=f"--port {server.server_port}: Address already in use"):
        Server(("127.0.0.1", server.server_port), server.recognizer)
    with pytest.raises(FerError, match="--host is empty, which would mean all networks"):
        serving.serve(server.recognizer, "", 0)
    with pytest.raises(FerError, match="--port 99999: "):
        Server(("127.0.0.1", 99_999), server.recognizer)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stop_answers_what_has_begun(number):
    command = [sys.executable, "-m", "fer", "serve", "--port", "0"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    port = int(process.stdout.readline().split()[0].rpartition(":")[2])
    content = PHOTO.read_bytes()
    head = b"POST /predict HTTP/1.1\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n"
    address = ("127.0.0.1", port)
    with socket.create_connection(address), socket.create_connection(address) as connection:
        connection.sendall(head % len(content))
        assert connection.recv(100).startswith(b"HTTP/1.1 100 ")  # it has begun
        process.send_signal(number)
        connection.sendall(content)
        answer = b"".join(iter(lambda: connection.recv(1 << 16), b""))
        out, err = process.communicate(timeout=60)  # although a connection is open
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert len(json.loads(answer.partition(b"\r\n\r\n")[2])["faces"]) == 1
    assert (process.returncode, err) == (0, "")
    assert out == "stopped after 1 requests and 1 images\n"
