import base64
import http.client
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import closing, suppress
from http import HTTPStatus
from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from test_recognizer import PHOTO

from fer import Recognizer
from fer.cli.printing import to_json
from fer.core.errors import FerError
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


def form(*files):
    parts = [
        f'--x\r\nContent-Disposition: form-data; name="a"; filename="{name}"\r\n\r\n'.encode()
        + content
        for name, content in files
    ]
    return b"\r\n".join([*parts, b"--x--\r\n"])


def expected(name):
    faces = Recognizer().predict(PHOTO)
    return json.loads(json.dumps(to_json((name, None, faces))))


def test_picture_as_the_body(ask):
    assert ask("POST", "/predict", PHOTO.read_bytes()) == (200, expected("image"))


def test_form_of_several_pictures(ask):
    body = form(("a.jpg", PHOTO.read_bytes()), ("b.txt", b"text"), ("c.jpg", PHOTO.read_bytes()))
    status, results = ask("POST", "/predict", body, Content_Type="multipart/form-data; boundary=x")
    assert status == 200
    assert results[0] == expected("a.jpg")
    assert results[1]["error"] == "b.txt: is not an image, or of a kind that cannot be read"
    assert results[2] == expected("c.jpg")


def test_names_of_files_in_a_form(ask):
    body = form(("ä b\u4e2d.jpg", PHOTO.read_bytes()))
    _, results = ask("POST", "/predict", body, Content_Type="Multipart/Form-Data; boundary=x")
    assert results[0] == expected("ä b\u4e2d.jpg")


def test_parts_of_a_form(ask):
    head = b'--x\r\nContent-Disposition: form-data; name="note"\r\n\r\nhello\r\n'
    mail = (
        b'--x\r\nContent-Disposition: form-data; name="m"; filename=a.eml\r\n'
        b"Content-Type: message/rfc822\r\n\r\nFrom: me\r\n"
    )
    body = head + mail + form(("a.jpg", PHOTO.read_bytes()))
    _, results = ask("POST", "/predict", body, Content_Type="multipart/form-data; boundary=x")
    assert [result["file"] for result in results] == ["a.eml", "a.jpg"]  # no field, no part lost
    assert results[1] == expected("a.jpg")
    other = form(("b.jpg", PHOTO.read_bytes())).replace(b'"b.jpg"', b"")
    other = other.replace(b"filename=", b"filename*=UTF-8''%C3%A4%20b.jpg")
    _, results = ask("POST", "/predict", other, Content_Type='multipart/form-data; boundary="x"')
    assert results[0]["file"] == "ä b.jpg"
    image = (
        b'--x\r\nContent-Disposition: form-data; name="a"\r\nContent-Type: image/png\r\n\r\nx\r\n'
    )
    spaced = form(("b.jpg", b"x")).replace(b"filename=", b"filename = ")
    latin = form(("", b"x")).replace(b'filename=""', b"filename*=ISO-8859-1''%E4.jpg")
    body = image + spaced.removesuffix(b"--x--\r\n") + latin
    _, results = ask("POST", "/predict", body, Content_Type="multipart/form-data; boundary=x")
    assert [result["file"] for result in results] == ["image 0", "b.jpg", "ä.jpg"]
    quoted = form(('say \\"hi\\".jpg', b"x"), ("C:\\a.jpg", b"x")).replace(b"filename", b"FileName")
    _, results = ask("POST", "/predict", quoted, Content_Type="multipart/form-data; boundary=x")
    assert [result["file"] for result in results] == ['say "hi".jpg', "C:\\a.jpg"]


def test_long_name_of_a_file_takes_no_time(ask):
    body = form(("a " * 1_000_000, b"x"))
    start = time.monotonic()
    status, _ = ask("POST", "/predict", body, Content_Type="multipart/form-data; boundary=x")
    assert status == 400
    assert time.monotonic() - start < 3


def test_base64_in_json(ask):
    text = base64.b64encode(PHOTO.read_bytes()).decode()
    lines = base64.encodebytes(PHOTO.read_bytes()).decode()
    assert ask(
        "POST", "/predict", json.dumps({"images": [lines]}), Content_Type="application/json"
    ) == (200, [expected("image 0")])
    body = json.dumps({"images": [text, f"data:image/jpeg;base64,{text}"]})
    status, results = ask("POST", "/predict", body, Content_Type="application/json")
    assert status == 200
    assert results == [expected("image 0"), expected("image 1")]
    in_url = text.translate(str.maketrans("+/", "-_")).rstrip("=")
    body = json.dumps({"images": [in_url]})
    _, results = ask("POST", "/predict", body, Content_Type="application/json")
    assert results == [expected("image 0")]


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
    ("method", "path", "body", "headers", "status", "message"),
    [
        ("POST", "/predict", b"", {}, 422, "image: is not an image"),
        ("POST", "/predict", b"no picture", {}, 422, "image: is not an image"),
        ("POST", "/predict", PHOTO.read_bytes()[:5000], {}, 422, "image: cannot be read"),
        ("POST", "/predict", png(9000, 9000), {}, 422, "image: has more than 50 megapixels"),
        ("POST", "/none", b"x", {}, 404, "no such page"),
        ("GET", "/none", None, {}, 404, "no such page"),
        ("GET", "/predict", None, {}, 404, "no such page"),
        ("PUT", "/predict", b"x", {}, 501, "Unsupported method"),
        ("POST", "/predict", b"{", {"Content_Type": "application/json"}, 400, "the JSON is not"),
        ("POST", "/predict", b"[]", {"Content_Type": "application/json"}, 400, "the JSON is not"),
        (
            *("POST", "/predict", b'{"images": ["%%%"]}', {"Content_Type": "application/json"}),
            *(400, "image 0 is not base64"),
        ),
        (
            *("POST", "/predict", b"[" * 100_000, {"Content_Type": "application/json"}),
            *(400, "the JSON is not"),
        ),
        (
            *("POST", "/predict", b'{"images": []}', {"Content_Type": "application/json"}),
            *(400, "the request has 0 images; send 1 to 64"),
        ),
        (
            *("POST", "/predict", b"no form", {"Content_Type": "multipart/form-data; boundary=x"}),
            *(400, "the request has 0 images"),
        ),
        (
            *("POST", "/predict", form(*[("a.jpg", b"x")] * 65)),
            *({"Content_Type": "multipart/form-data; boundary=x"}, 400, "has 65 images; send 1 to"),
        ),
        (
            *("POST", "/predict", form(*[("a.jpg", b"x")] * 129)),
            *({"Content_Type": "multipart/form-data; boundary=x"}, 400, "has too many parts"),
        ),
        (
            *(
                "POST",
                "/predict",
                form(("", b"")).replace(b"--x--", b'--x\r\nA: name="b"\r\n\r\nc\r\n--x--'),
            ),
            *({"Content_Type": "multipart/form-data; boundary=x"}, 400, "has 0 images"),
        ),
        (
            *("POST", "/predict", form(("a.jpg", b"x"), ("b.jpg", b"x"))[: -len(b"--x--\r\n")]),
            *({"Content_Type": "multipart/form-data; boundary=x"}, 400, "without its closing mark"),
        ),
        (
            *("POST", "/predict", form(*[("a.jpg", b"x")] * 65)),
            *({"Content_Type": "multipart/form-data; boundary=x (c)"}, 400, "has 0 images"),
        ),
        (
            *("POST", "/predict", b"--x\r\nno head\r\n--x--\r\n"),
            *(
                {"Content_Type": "multipart/form-data; boundary=x"},
                400,
                "part 0 of the form has no",
            ),
        ),
        (
            *("POST", "/predict", b'{"images": {"YWJj": 1}}'),
            *({"Content_Type": "application/json"}, 400, "the JSON is not"),
        ),
        (
            *("POST", "/predict", b'{"images": [' + b"[]," * 100_000 + b"[]]}"),
            *({"Content_Type": "application/json"}, 400, "the JSON is not"),
        ),
        ("POST", "/predict", dds(), {}, 422, "image: is not an image"),
        ("POST", "/predict", b"x", {"Content_Length": "-1"}, 411, "send a number"),
        ("POST", "/predict", b"x", {"Content_Length": "1e3"}, 411, "send a number"),
        ("POST", "/predict", b"x", {"Content_Length": "9" * 5000}, 411, "send a number"),
        ("POST", "/predict", b"x", {"Content_Length": "99999999999"}, 413, "send at most"),
    ],
)
def test_bad_requests_get_one_clear_error(ask, method, path, body, headers, status, message):
    result, answer = ask(method, path, body, **headers)
    assert result == status
    assert list(answer) == ["error"]
    assert message in answer["error"]
    assert ask("GET", "/health")[0] == 200  # it goes on


def raw(server, content):
    """Send bytes; return all that the server answers until it closes the connection."""
    with socket.create_connection(("127.0.0.1", server.server_port)) as connection:
        connection.sendall(content)
        return b"".join(iter(lambda: connection.recv(1 << 16), b""))


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (b"Content-Length: 0\r\nContent-Length: 23", b" 200 "),
        (b"nonsense\r\nContent-Length: 23", b" 400 "),
        (b"Content-Length : 23", b" 400 "),
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


def test_body_that_does_not_come_ends_in_time(server, monkeypatch):
    monkeypatch.setattr(serving._Handler, "timeout", 0.3)
    start = time.monotonic()
    raw(server, b"POST /predict HTTP/1.1\r\nContent-Length: 10\r\n\r\nabc")
    assert time.monotonic() - start < 5


def send_quietly(connection, content):
    with suppress(OSError):  # it is closed
        connection.sendall(content)


def test_slow_headers_end_in_time(server, monkeypatch):
    monkeypatch.setattr(serving, "TIMEOUT", 1.0)
    with socket.create_connection(("127.0.0.1", server.server_port)) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nA: ")
        connection.settimeout(8)
        for number in range(1, 30):
            threading.Timer(number / 5, send_quietly, (connection, b"x")).start()
        start = time.monotonic()
        with suppress(ConnectionError):
            while connection.recv(1 << 16):  # until it is closed
                connection.sendall(b"x")
    assert time.monotonic() - start < 5


def test_get_with_a_body_is_one_request(server):
    inner = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
    head = b"GET /health HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(inner)
    assert raw(server, head + inner).count(b"HTTP/1.1 ") == 1
    chunks = b"POST /predict HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n"
    assert b" 411 " in raw(server, chunks + inner)


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
    started = Server(("127.0.0.1", 0), Recognizer(threads=1))
    threading.Thread(target=started.serve_forever, daemon=True).start()
    address = ("127.0.0.1", started.server_port)
    with socket.create_connection(address) as headers, socket.create_connection(address) as body:
        headers.sendall(b"GET /health HTTP/1.1\r\nA: ")
        body.sendall(b"POST /predict HTTP/1.1\r\nContent-Length: 1000\r\n\r\nabc")
        time.sleep(0.3)
        start = time.monotonic()
        started.stop()
        assert time.monotonic() - start < 5


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
    results = []
    threads = [
        threading.Thread(target=lambda: results.append(ask("POST", "/predict", content)))
        for _ in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [(200, answer)] * 12


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
    idle = socket.create_connection(("127.0.0.1", port))
    large = BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (2000, 3000), np.uint8)
    Image.fromarray(noise).save(large, "png")
    with closing(http.client.HTTPConnection("127.0.0.1", port)) as connection:
        connection.request("POST", "/predict", large.getvalue())
        time.sleep(0.3)  # it has begun
        process.send_signal(number)
        response = connection.getresponse()
        assert response.status == HTTPStatus.OK
        assert json.loads(response.read())["faces"] == []
    out, err = process.communicate(timeout=10)  # although a connection was left open
    idle.close()
    assert (process.returncode, err) == (0, "")
    assert out == "stopped after 1 requests and 1 images\n"
