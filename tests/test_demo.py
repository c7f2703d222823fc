"""The page in demo/ finds what `Recognizer` finds, in a headless Chromium."""

import json
import os
import shutil
import subprocess
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from test_recognizer import PHOTO

from fer import Recognizer
from fer.data.sample import ACTION_UNITS, draw_large

ROOT = Path(__file__).parents[1]
DEMO = ROOT / "demo"
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(shutil.which("npm") is None, reason="needs npm"),
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium"),
]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A copy of demo/, built."""
    source = tmp_path_factory.mktemp("page")
    for name in ("demo", "fer/images", "fer/weights"):
        shutil.copytree(
            ROOT / name,
            source / name,
            ignore=shutil.ignore_patterns("node_modules", "dist"),
        )
    install = ["npm", "ci", "--silent", "--no-fund", "--no-audit"]
    done = subprocess.run(install, cwd=source / "demo", capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"npm cannot install: {done.stderr[-200:]}")
    subprocess.run(["node", "build.mjs"], cwd=source / "demo", check=True)
    return source / "demo"


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
    for orientation, turn in ((3, "ROTATE_180"), (6, "ROTATE_90"), (7, "TRANSVERSE")):
        exif[0x0112] = orientation
        turned = photo.transpose(Image.Transpose[turn])
        turned.save(folder / f"turned{orientation}.webp", exif=exif, quality=95)
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
    face = Image.open(DEMO / "examples/happy.png").convert("RGB")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libvpx-vp9", rate=10)
        stream.width, stream.height, stream.pix_fmt = 480, 320, "yuv420p"
        for number in range(30):
            image = Image.new("RGB", (480, 320), (200, 200, 200))
            image.paste(face, (5 * number, 5))
            container.mux(stream.encode(av.VideoFrame.from_image(image)))
        container.mux(stream.encode(None))
    return path


@pytest.fixture(scope="module")
def damaged(video):
    """The video with noise in place of its second half."""
    content = bytearray(video.read_bytes())
    middle = len(content) // 2
    noise = np.random.default_rng(0).integers(0, 256, len(content) - middle, np.uint8)
    content[middle:] = noise.tobytes()
    path = video.with_name("damaged.webm")
    path.write_bytes(content)
    return path


@pytest.fixture(scope="module")
def page(built, pictures, video, damaged, tmp_path_factory):
    """What demo/check.mjs saw."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=built / "dist"))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    screenshots = os.environ.get("FER_SCREENSHOTS") or tmp_path_factory.mktemp("screenshots")
    command = [
        "node",
        "check.mjs",
        f"http://127.0.0.1:{server.server_port}/",
        CHROMIUM,
        screenshots,
    ]
    done = subprocess.run(
        [*command, video, damaged, *pictures],
        cwd=built,
        capture_output=True,
        text=True,
        timeout=200,
    )
    server.shutdown()
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("model", ["int8", "float32"])
def test_page_finds_what_the_recognizer_finds(page, pictures, model):
    recognizer = Recognizer("nano", precision=model)
    count = 0
    for path in pictures:
        expected = recognizer.predict(path)
        found = page["results"][path.name]
        assert len(found) == len(expected), path.name
        for there, here in zip(found, expected, strict=True):
            np.testing.assert_allclose(there["box"], here.box, atol=2, err_msg=path.name)
            probabilities = list(here.probabilities.values())
            np.testing.assert_allclose(there[model], probabilities, atol=0.02, err_msg=path.name)
            assert recognizer.classes[int(np.argmax(there[model]))] == here.emotion
            count += 1
    assert count >= 30


def test_page_asks_no_other_server_and_has_no_errors(page):
    assert page["foreign"] == []
    assert page["errors"] == []


def test_page_says_what_it_does(page):
    texts = page["texts"]
    assert texts["example"].startswith("4 faces: ")
    assert "float32" in texts["numbers"]
    assert "kB" in texts["numbers"]
    assert texts["broken"].startswith("This file cannot be read as a picture or a video")
    assert texts["lastClick"].startswith("1 face: Happy")
    assert texts["hasCurve"]
    assert texts["comparedAfterVideo"] == 1
    assert texts["facesOfBroken"] == 0
    assert texts["stopped"] == texts["stoppedPhoto"] == "Stopped."
    assert "cannot be played here" in texts["damaged"]
    assert texts["isStopped"]
    assert texts["overflow"] <= 0  # 320 pixels wide, with two bars per emotion


def test_no_camera_stays_on_that_was_stopped_or_replaced(page):
    assert page["texts"]["liveTracks"] == 0
    assert page["texts"]["afterCameras"].startswith("1 face: Happy")


def test_build_takes_the_names_of_released_models(built):
    subprocess.run(["node", "build.mjs", "base"], cwd=built, check=True)
    assert (built / "dist/models/int8.onnx").read_bytes() == (
        built.parent / "fer/weights/base.int8.onnx"
    ).read_bytes()
    assert json.loads((built / "dist/models/index.json").read_text()) == ["int8"]
    subprocess.run(["node", "build.mjs", "../fer/weights/nano.float32.onnx"], cwd=built, check=True)
    assert json.loads((built / "dist/models/index.json").read_text()) == ["float32"]


def test_wrong_model_is_one_line(built):
    done = subprocess.run(
        ["node", "build.mjs", "none.onnx"], cwd=built, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: none.onnx: no such file; ")
    folder = subprocess.run(
        ["node", "build.mjs", "examples"], cwd=built, capture_output=True, text=True
    )
    assert folder.stderr.startswith("error: examples: no such file; ")
    assert (built / "dist/index.html").exists()  # the page of before
