"""The page in demo/ finds what `Recognizer` finds, in headless browsers."""

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import av
import numpy as np
import pytest
import uvicorn
from PIL import Image
from test_recognizer import PHOTO

from fer import Recognizer
from fer.data.sample import ACTION_UNITS, draw_large
from fer.serve.server import App

ROOT = Path(__file__).parents[1]
DEMO = ROOT / "demo"
BROWSERS = [path for path in map(shutil.which, ("chromium", "firefox-esr")) if path]

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(shutil.which("npm") is None, reason="needs npm"),
    pytest.mark.skipif(not BROWSERS, reason="needs Chromium or Firefox"),
]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A copy of demo/, built with two models."""
    demo = tmp_path_factory.mktemp("page") / "demo"
    ignored = shutil.ignore_patterns("node_modules", "dist", "models")
    shutil.copytree(DEMO, demo, ignore=ignored)
    install = ["npm", "ci", "--silent", "--no-fund", "--no-audit"]
    done = subprocess.run(install, cwd=demo, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"npm cannot install: {done.stderr[-200:]}")
    (demo / "models").mkdir()
    for model in ("nano", "small"):
        command = [sys.executable, "-m", "fer", "export", model, "--whole"]
        subprocess.run([*command, demo / f"models/{model}.onnx"], cwd=ROOT, check=True)
    subprocess.run(["node", "build.mjs"], cwd=demo, check=True)
    return demo


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Pictures with 30 faces and more: photos, drawn faces, odd sizes, one to be turned."""
    folder = tmp_path_factory.mktemp("pictures")
    photo = Image.open(PHOTO).convert("RGB")
    photo.save(folder / "photo.png")
    photo.crop((3, 7, 500, 590)).save(folder / "odd.jpg", quality=95)
    photo.resize((1024, 1200)).save(folder / "large.png")
    photo.resize((128, 150)).save(folder / "small.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    photo.transpose(Image.Transpose.ROTATE_90).save(folder / "turned.jpg", exif=exif, quality=95)
    in_large = Image.new("RGB", (3000, 2000), "grey")
    in_large.paste(photo.resize((170, 200)), (2500, 1300))
    in_large.save(folder / "in_large.png")
    clear = photo.copy()
    clear.putalpha(
        Image.linear_gradient("L").resize(photo.size).point(lambda value: 128 + value // 2)
    )
    clear.save(folder / "clear.png")
    for number in range(4):
        group = Image.new("L", (4 * 230 + 20, 2 * 230 + 20), 190)
        for place in range(8):
            emotion = list(ACTION_UNITS)[(8 * number + place) % 7]
            face = draw_large(emotion, np.random.default_rng(8 * number + place))
            group.paste(face, (20 + place % 4 * 230, 20 + place // 4 * 230))
        group.save(folder / f"drawn{number}.png")
    return sorted(folder.iterdir())


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """A video of 3 seconds of a drawn happy face that moves."""
    path = tmp_path_factory.mktemp("video") / "happy.webm"
    face = Image.open(DEMO / "page/examples/happy.png").convert("RGB")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libvpx-vp9", rate=10)
        stream.width, stream.height, stream.pix_fmt = 480, 320, "yuv420p"
        for number in range(30):
            image = Image.new("RGB", (480, 320), (200, 200, 200))
            image.paste(face, (5 * number, 5))
            container.mux(stream.encode(av.VideoFrame.from_image(image)))
        container.mux(stream.encode(None))
    return path


@contextmanager
def serve(folder):
    """Serve files as a simple host does; yield the address."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()


def check(built, url, browser, screenshots, *files):
    """Return what demo/check.mjs saw."""
    command = ["node", "check.mjs", url, browser, screenshots, *files]
    done = subprocess.run(command, cwd=built, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module", params=BROWSERS)
def page(built, pictures, video, tmp_path_factory, request):
    screenshots = os.environ.get("FER_SCREENSHOTS") or tmp_path_factory.mktemp("screenshots")
    with serve(built / "dist") as url:
        return check(built, url, request.param, screenshots, video, *pictures)


def test_page_finds_what_the_recognizer_finds(page, pictures):
    recognizer = Recognizer("nano")
    count = 0
    for path in pictures:
        expected = recognizer.predict(path)
        found = page["results"][path.name]
        assert len(found) == len(expected), path.name
        for there, here in zip(found, expected, strict=True):
            np.testing.assert_allclose(there["box"], here.box, atol=2, err_msg=path.name)
            probabilities = list(here.probabilities.values())
            found_here = there["probabilities"]
            np.testing.assert_allclose(found_here, probabilities, atol=0.02, err_msg=path.name)
            assert recognizer.classes[int(np.argmax(found_here))] == here.emotion
            count += 1
    assert count >= 30


def test_page_asks_no_other_server_and_has_no_errors(page):
    assert page["foreign"] == []
    assert page["errors"] == []


def test_page_is_accessible(page):
    texts = page["texts"]
    assert texts["axe"] == []
    order = ["choose", "camera", *["examples"] * 3, "model", "overlay", "drop", "A"]
    assert texts["tabs"] == [[name, "3px"] for name in order]  # each shows its focus


def test_page_says_what_it_does(page):
    texts = page["texts"]
    assert texts["progress"].endswith(" MB")
    assert texts["example"].startswith("4 faces: ")
    assert texts["small"].startswith("4 faces: ")
    assert texts["small"] != texts["example"]
    assert texts["lastClick"].startswith("1 face: Happy")
    assert texts["stoppedPhoto"] == "Stopped."
    assert texts["isStopped"]
    assert texts["video"].startswith("1 face: Happy")
    assert texts["hasChart"]
    assert texts.get("offline", "Ready").startswith("Ready")


def test_page_shows_all_photos_and_clear_errors(page):
    texts = page["texts"]
    assert texts["gallery"].startswith("3 photos, ")
    assert texts["thumbs"][1] == "⚠ not read"
    assert texts["broken"].startswith("This file cannot be read as a picture. Save it as JPEG")
    assert texts["afterBroken"] == [0, False]  # no faces, and not the photo before
    assert "Save this one as JPEG" in texts["heic"]


def test_page_fits_a_phone(page):
    assert page["texts"]["phone"]["overflow"] <= 0
    assert page["texts"]["phone"]["pictureEnds"] <= 844


def test_no_camera_stays_on_that_was_stopped_or_replaced(page):
    assert page["texts"]["liveTracks"] == 0
    assert page["texts"]["afterCameras"].startswith("1 face: Happy")


def test_page_of_the_server_shows_no_photo_beside_the_answer_of_another(built, tmp_path):
    """The server reads a TIFF, which browsers cannot show."""
    Image.open(PHOTO).save(tmp_path / "photo.tiff")
    listener = socket.create_server(("127.0.0.1", 0))
    app = App(Recognizer(threads=1), [], None, threads=1)
    server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_level="critical"))
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
    found = check(built, url, BROWSERS[0], tmp_path, PHOTO, tmp_path / "photo.tiff")
    server.should_exit = True
    thread.join()
    assert found["photo"] == ["1 face: Neutral 82 %", 1, True]
    text = "1 face: Neutral 82 %. This browser cannot show the file; the server has read it."
    assert found["tiff"] == [text, 1, False]


def test_build_without_models_is_one_line(built):
    models = (built / "models").rename(built / "hidden")
    done = subprocess.run(["node", "build.mjs"], cwd=built, capture_output=True, text=True)
    models.rename(built / "models")
    assert done.returncode == 1
    assert done.stderr.endswith("is empty; run make demo\n")
    assert (built / "dist/index.html").exists()  # the page of before
