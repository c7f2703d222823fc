import multiprocessing
import os
import pickle
import struct
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from io import BytesIO, StringIO
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps
from PIL import Image

from fer import Recognizer
from fer.core.errors import FerError
from fer.images import reading
from fer.images.detection import Detector, crop_face

CLASSES = ("Angry", "Disgust", "Fear", "Happy", "Sad", "Surprise", "Neutral")
PHOTO = Path(matplotlib.get_data_path(), "sample_data", "grace_hopper.jpg")
"""A portrait in the public domain (US Navy): the one face is at about 185,125 to 365,305."""


@pytest.fixture(scope="module")
def recognizer():
    return Recognizer()


def assert_is_portrait(faces, scale=1.0):
    """Check that the one face is the portrait's; `scale` is that of the image."""
    (face,) = faces
    left, top, right, bottom = (side / scale for side in face.box)
    assert 140 < left < 200
    assert 90 < top < 150
    assert 340 < right < 410
    assert 280 < bottom < 340
    assert right - left == pytest.approx(bottom - top, abs=2)


@pytest.mark.parametrize(
    ("model", "precision"),
    [("nano", "int8"), ("nano", "float32"), ("small", "int8"), ("base", "int8"), ("large", "int8")],
)
def test_released_models_find_the_face_and_its_emotion(model, precision):
    recognizer = Recognizer(model, threads=1, precision=precision)
    assert recognizer.path.name == f"{model}.{precision}.onnx"
    assert recognizer.metadata["dataset"] == "fer2013"
    faces = recognizer.predict(PHOTO)
    assert_is_portrait(faces)
    (face,) = faces
    assert list(face.probabilities) == recognizer.classes == list(CLASSES)
    assert sum(face.probabilities.values()) == pytest.approx(1, abs=1e-5)
    assert face.emotion == "Neutral"
    # base is unsure: 0.50, and 0.39 with ONNX Runtime 1.21.
    assert face.probabilities["Neutral"] > (0.3 if model == "base" else 0.5)
    assert face.pixels.shape == (48, 48)
    assert face.maps.shape == (7, 11, 11)


def test_takes_any_form_of_an_image(recognizer):
    image = Image.open(PHOTO)
    array = np.asarray(image)
    (expected,) = recognizer.predict(image)
    forms = [
        str(PHOTO),
        array,
        array / 255,
        np.dstack([array, np.full(array.shape[:2], 255, np.uint8)]),
        array.astype(np.uint16) * 257,
        image.convert("CMYK"),
        image.convert("RGBA"),
        image.convert("P", palette=Image.Palette.ADAPTIVE, colors=256),
    ]
    for form in forms:
        (face,) = recognizer.predict(form)
        assert face.emotion == expected.emotion
        assert face.probabilities[face.emotion] == pytest.approx(
            expected.probabilities[face.emotion], abs=0.15
        )
    grey = np.asarray(image.convert("L"))
    assert_is_portrait(recognizer.predict(grey))
    assert_is_portrait(recognizer.predict(grey[..., None]))
    tensor = pytest.importorskip("torch").tensor(grey)
    assert recognizer.predict(tensor) == recognizer.predict(grey)
    with PHOTO.open("rb") as file:
        for form in (PHOTO.read_bytes(), BytesIO(PHOTO.read_bytes()), file):
            assert recognizer.predict(form) == [expected]


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (200, 3), (48, 58)])
def test_small_images_and_the_face_option(recognizer, size):
    pixels = np.full(size, 100, np.uint8)
    assert recognizer.predict(pixels) == []
    (face,) = recognizer.predict(pixels, face=True)  # the central square
    left, top, right, bottom = face.box
    assert right - left == bottom - top == min(size)
    assert (top + bottom, left + right) == pytest.approx(size, abs=1)


@pytest.mark.parametrize(
    "images",
    [
        [str(PHOTO), str(PHOTO)],
        (str(PHOTO), PHOTO),
        iter([PHOTO, PHOTO]),
        pd.Series([str(PHOTO), str(PHOTO)]),
        np.array([str(PHOTO), str(PHOTO)]),
        np.array([PHOTO, PHOTO], object),
        np.stack([np.asarray(Image.open(PHOTO))] * 2),
    ],
    ids=lambda images: type(images).__name__,
)
def test_several_images_give_a_list_each(recognizer, images):
    first, second = recognizer.predict(images)
    assert_is_portrait(first)
    assert_is_portrait(second)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5])
@pytest.mark.parametrize("shape", [(40, 50), (40, 50, 1), (40, 50, 3), (40, 50, 4)])
def test_array_of_any_number_of_images(recognizer, count, shape):
    """Three grey images are no image with its colors first."""
    faces = recognizer.predict(np.zeros((count, *shape), np.uint8), face=True)
    assert [face.box for (face,) in faces] == [(5, 0, 45, 40)] * count
    (face,) = recognizer.predict(np.zeros(shape, np.uint8), face=True)
    assert face.box == (5, 0, 45, 40)


@pytest.mark.parametrize("threads", [1, 2, 8])
def test_classify_predicts_what_predict_does(faces, threads):
    recognizer = Recognizer(threads=threads)
    predictions = recognizer.predict(faces.images, face=True)
    probabilities = [list(face.probabilities.values()) for (face,) in predictions]
    np.testing.assert_allclose(probabilities, recognizer.classify(faces.images), atol=1e-6)
    np.testing.assert_allclose(
        recognizer.classify(faces.images[:1]), recognizer.classify(faces.images)[:1], atol=1e-6
    )


def test_threads_may_share_a_recognizer(recognizer):
    image = Image.open(PHOTO).convert("L")
    sizes = [(256 + 32 * n, 300 + 24 * n) for n in range(8)]
    photos = [np.asarray(image.resize(size)) for size in sizes]
    expected = [recognizer.predict(photo)[0].box for photo in photos]
    with ThreadPoolExecutor(8) as pool:
        actual = list(pool.map(recognizer.predict, photos * 6))
    assert [faces[0].box for faces in actual] == expected * 6


@pytest.mark.parametrize("start_method", ["fork", "spawn"])
def test_processes_may_share_a_recognizer(start_method, faces):
    if start_method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {start_method} on this system")
    recognizer = Recognizer(threads=2, flip=False)
    expected = recognizer.classify(faces.images)
    with multiprocessing.get_context(start_method).Pool(2) as pool:
        actual = pool.apply_async(recognizer.classify, [faces.images]).get(timeout=60)
    np.testing.assert_allclose(actual, expected, atol=1e-6)


def test_rotated_by_exif(recognizer, tmp_path):
    image = Image.open(PHOTO).rotate(90, expand=True)
    exif = image.getexif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to see it upright
    image.save(tmp_path / "turned.jpg", exif=exif, quality=95)
    assert_is_portrait(recognizer.predict(tmp_path / "turned.jpg"))
    assert_is_portrait(recognizer.predict(Image.open(tmp_path / "turned.jpg")))


@settings(max_examples=60, deadline=None)
@given(
    nps.arrays(np.uint8, st.tuples(st.integers(1, 60), st.integers(1, 60))),
    st.integers(-50, 80),
    st.integers(-50, 80),
    st.integers(1, 90),
)
def test_any_box_gives_a_face(pixels, left, top, side):
    face = crop_face(pixels, (left, top, left + side, top + side))
    assert face.shape == (48, 48)
    assert face.dtype == np.uint8


@settings(max_examples=60, deadline=None)
@given(nps.arrays(st.sampled_from(["<u2", ">u2"]), st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_range_of_16_bits_does_not_depend_on_the_pixels(pixels):
    np.testing.assert_array_equal(reading.grey(pixels), pixels // 257)
    image = Image.fromarray(pixels.astype(np.uint16))
    for kind in ("PNG", "TIFF", "PPM", "JPEG2000"):
        file = BytesIO()
        image.save(file, kind)
        for read in (reading.load(file.getvalue()), Image.open(file)):
            np.testing.assert_array_equal(reading.grey(read), pixels // 257)


def pgm(*values, largest):
    return b"P5 %d 1 %d\n" % (len(values), largest) + np.array(values, ">u2").tobytes()


def tiff_of_12_bits(orientation):
    """A row of 0, 100, 200 and 4095."""
    tags = {256: 4, 257: 1, 258: 12, 259: 1, 262: 1, 273: 8, 274: orientation, 278: 1, 279: 6}
    entries = b"".join(struct.pack("<HHII", tag, 3, 1, value) for tag, value in tags.items())
    start = b"II*\0" + struct.pack("<I", 14) + bytes.fromhex("0000640c8fff")
    return start + struct.pack("<H", len(tags)) + entries + bytes(4)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (pgm(0, 512, 1023, 1023, largest=1023), [[0, 127, 255, 255]]),
        (pgm(0, 100, 200, 300, largest=4095), [[0, 6, 12, 18]]),
        (tiff_of_12_bits(orientation=1), [[0, 6, 12, 255]]),
        (tiff_of_12_bits(orientation=6), [[0], [6], [12], [255]]),
    ],
)
def test_range_of_a_file_is_that_of_its_header(content, expected):
    for image in (reading.load(content), reading.load(Image.open(BytesIO(content)))):
        assert reading.grey(image).tolist() == expected


@pytest.mark.parametrize("kind", [np.int64, np.int32, np.uint32, np.float32, np.float64])
def test_arrays_of_0_to_255_of_any_type_are_the_same_image(kind):
    pixels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert reading.grey(pixels.astype(kind)).tolist() == pixels.tolist()
    if kind == np.int32:
        assert reading.grey(Image.fromarray(pixels.astype(kind))).tolist() == pixels.tolist()


def test_transparent_is_white(tmp_path):
    assert (reading.grey(Image.new("RGBA", (4, 4), (0, 0, 0, 0))) == 255).all()
    pixels = np.array([[0, 30000], [65535, 0]], np.uint16)
    Image.fromarray(pixels).save(tmp_path / "a.png", transparency=0)
    assert reading.grey(Image.open(tmp_path / "a.png")).tolist() == [[255, 116], [255, 255]]


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (None, "is of type NoneType; pass a path, bytes, "),
        (BytesIO(b"no image"), "is not an image"),
        (b"", "is not an image"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 50, "is not an image"),
        (PHOTO.read_bytes()[:3000], "cannot be read: image file is truncated"),
        (Image.open(BytesIO(PHOTO.read_bytes()[:3000])), "cannot be read: image file is truncated"),
        (StringIO("no image"), "file: is open as text; open it in mode 'rb'"),
        ("", "the path of the image is empty; pass"),
        (np.array([b"a.png"]), "bytes: is not an image"),
        ("data:image/png;base64,iVBOR", "is no file but a text; decode base64 to bytes"),
        (Path("iVBOR/w0KGg/" * 90_000), "is no file but a text; decode base64 to bytes"),
        (["iVBORw0KGgo" * 90_000], "is no file but a text; decode base64 to bytes"),
        (np.zeros((0, 5), np.uint8), "has shape [0, 5]"),
        ([np.zeros((3, 9, 8), np.uint8)], "has shape [3, 9, 8]"),
        (np.zeros((5, 5), bool), "of type bool; convert"),
        (np.full((5, 5), -1), "int64 outside 0 to 255; scale them, or convert"),
        (Image.fromarray(np.full((5, 5), 256, np.int32)), "int32 outside 0 to 255"),
        (np.full((5, 5), 1.5), "not from 0 to 1 or 0 to 255"),
        (np.full((5, 5), np.nan), "not from 0 to 1 or 0 to 255"),
        (Image.new("La", (4, 4), (0, 0)), "mode La; convert it to RGB or grey"),
        (Image.new("L", (0, 0)), "has 0 x 0 pixels"),
    ],
)
def test_what_is_no_image(recognizer, image, message):
    with pytest.raises(FerError) as error:
        recognizer.predict(image)
    assert message in str(error.value)
    assert len(str(error.value)) < 120
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("kind", "mode"),
    [
        *(("AVIF", "RGB"), ("BLP", "P"), ("DDS", "RGB"), ("GIF", "P"), ("ICNS", "RGBA")),
        *(("JPEG", "RGB"), ("JPEG2000", "RGB"), ("PNG", "P"), ("SPIDER", "F"), ("TIFF", "RGB")),
        *(("WEBP", "RGB"), ("TGA", "P"), ("PCX", "P"), ("SGI", "RGB"), ("ICO", "RGBA")),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_changed_bytes_give_an_image_or_one_clear_error(kind, mode):
    if kind not in Image.SAVE:
        Image.init()
    picture = Image.open(PHOTO).resize((64, 64)).convert("L" if mode == "F" else mode)
    buffer = BytesIO()
    picture.convert(mode).save(buffer, kind)
    content, random = buffer.getvalue(), np.random.default_rng(0)
    for _ in range(100):
        changed = bytearray(content)
        for place in random.integers(0, min(len(content), 1000), random.integers(1, 8)):
            changed[place] = random.integers(256)
        end = random.integers(len(content) // 2, len(content) + 1)
        try:
            reading.grey(reading.load(bytes(changed[:end])))
        except FerError as error:
            assert "\n" not in str(error)  # noqa: PT017


def test_postscript_is_not_run(tmp_path, monkeypatch):
    (tmp_path / "gs").write_text(f"#!/bin/sh\ntouch {tmp_path}/was-run\n")
    (tmp_path / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    content = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 100\n%%EndComments\nshowpage\n"
    with pytest.raises(FerError, match="is not an image, or of a kind that cannot be read"):
        reading.load(content)
    assert not (tmp_path / "was-run").exists()


EXIF = (
    b"Exif\0\0II*\0\x08\0\0\0\x02\0"
    + struct.pack("<HHII", 0x0112, 3, 1, 6)  # turn by 90 degrees clockwise
    + struct.pack("<HHII", 0x011A, 2, 6, 38)  # text as a resolution
    + b"\0\0\0\x0072dpi\0"
)


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP"])
@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, of corrupt EXIF
def test_pixels_with_broken_exif_are_read(file_format):
    for end in range(6, len(EXIF) + 1):
        file = BytesIO()
        Image.new("L", (60, 40)).save(file, file_format, exif=EXIF[:end])
        once = reading.load(file.getvalue())
        assert reading.load(once).size == once.size  # upright is asked for once
        assert set(reading.grey(once).shape) == {60, 40}
    assert once.size == (40, 60)  # whole, its orientation can be read


def test_wrong_arguments(recognizer):
    for model, precision in (("m.onnx", "int8"), ("small", "float32"), ("nano", "int4")):
        with pytest.raises(FerError, match=r"no model here: .*; use nano, small, base, large"):
            Recognizer(model, precision=precision)
    with pytest.raises(FerError, match="inputs, outputs or metadata are not those of fer"):
        Recognizer(Path(reading.__file__).with_name("yunet.onnx"))
    for name, value in (("threads", 0), ("threads", "2"), ("min_face", "48"), ("min_score", None)):
        with pytest.raises(FerError, match=f"{name} is {value!r}"):
            Recognizer(**{name: value})
    for faces in (np.zeros((2, 48, 48)), np.zeros((2, 44, 44), np.uint8)):
        with pytest.raises(FerError, match=r"faces are .*; convert them to uint8 \[N, 48, 48\]"):
            recognizer.classify(faces)


@pytest.mark.parametrize("end", [0, 1, 100, 5_000, 40_000, -1_000, -100, -1])
def test_truncated_model(tmp_path, recognizer, end):
    (tmp_path / "m.onnx").write_bytes(recognizer.path.read_bytes()[:end])
    with pytest.raises(FerError, match=r"m\.onnx: .*; use nano, small, base, large") as error:
        Recognizer(tmp_path / "m.onnx")
    assert "\n" not in str(error.value)


def test_providers_are_those_of_model_and_detector(recognizer):
    providers = ["CPUExecutionProvider"]
    copy = pickle.loads(pickle.dumps(Recognizer(providers=providers)))
    assert copy.session.get_providers() == copy.detector.session.get_providers() == providers
    with pytest.raises(FerError, match="this ONNX Runtime has no AbacusExecutionProvider; use"):
        Recognizer(providers=["AbacusExecutionProvider", *providers])
    with_options = Recognizer(providers=[("CPUExecutionProvider", {"use_arena": "0"})])
    assert pickle.loads(pickle.dumps(with_options)).session.get_providers() == providers
    for wrong in ([], "CPUExecutionProvider", None, {"CPUExecutionProvider": {}}):
        with pytest.raises(FerError, match=r"providers is .*; pass a list such as"):
            Recognizer(providers=wrong)
    for wrong in ([5], [("CPUExecutionProvider",)], [None]):
        with pytest.raises(FerError, match=r"this ONNX Runtime has no .*; use"):
            Recognizer(providers=wrong)


def test_boxes_replace_the_detector(recognizer):
    (face,) = recognizer.predict(PHOTO)
    assert recognizer.predict(PHOTO, boxes=[face.box]) == [face]
    shifted = tuple(np.add(face.box, 300))  # partly outside the image
    actual = recognizer.predict(np.asarray(Image.open(PHOTO)), boxes=np.array([shifted, face.box]))
    assert [result.box for result in actual] == [shifted, face.box]
    assert recognizer.predict(PHOTO, boxes=[]) == []
    for arguments in ({"image": [PHOTO]}, {"image": PHOTO, "face": True}):
        with pytest.raises(FerError, match="boxes need a single image"):
            recognizer.predict(**arguments, boxes=[(0, 0, 9, 9)])
    for box in ((1, 2, 3), ("a", 2, 3, 4), 7, (0, 0, float("inf"), 9), (5, 5, 5, 9), (9, 5, 5, 9),
                (0, 0, 1e300, 9), (-9, 0, 0, 9), (0, 600, 9, 609)):  # fmt: skip
        with pytest.raises(FerError, match="has no sides of 1 to 30000 pixels or is outside"):
            recognizer.predict(PHOTO, boxes=[box])
    for recognize in (
        Recognizer(detector=lambda _: None).predict,
        partial(recognizer.predict, boxes=5),
    ):
        with pytest.raises(FerError, match=r"the boxes are (None|5); return or pass a list"):
            recognize(PHOTO)


def upper_left(pixels):
    assert pixels.dtype == np.uint8
    assert pixels.ndim == 2
    return [(0, 0, 50, 50)]


def test_custom_detector():
    recognizer = Recognizer(detector=upper_left)
    (face,) = recognizer.predict(PHOTO)
    assert face.box == (0, 0, 50, 50)
    assert pickle.loads(pickle.dumps(recognizer)).predict(PHOTO) == [face]


class LargestFace(Detector):
    """The largest face of those that are larger than a limit."""

    def __init__(self, limit, **options):
        super().__init__(**options)
        self.limit = limit

    def __call__(self, pixels):
        boxes = [box for box in super().__call__(pixels) if box[2] - box[0] > self.limit]
        return sorted(boxes, key=lambda box: box[0] - box[2])[:1]


@pytest.mark.parametrize("limit", [100, 9999])
def test_subclass_of_the_detector_is_used_and_pickled(limit):
    recognizer = Recognizer(detector=LargestFace(limit, min_face=99, min_score=0.5))
    faces = recognizer.predict(PHOTO)
    assert len(faces) == (limit == 100)
    copy = pickle.loads(pickle.dumps(recognizer))
    assert copy.predict(PHOTO) == faces
    assert (copy.detector.min_face, copy.detector.min_score) == (99, 0.5)


def test_several_photos_share_the_cores():
    """Two detections run at a time; the results keep the order of the photos."""
    barrier = threading.Barrier(2, timeout=20)

    def detector(pixels):
        barrier.wait()  # breaks if only one detection runs
        return [(0, 0, *pixels.shape)]

    recognizer = Recognizer(threads=2, detector=detector)
    photos = [np.zeros((side, side), np.uint8) for side in (9, 7, 5, 8)]
    actual = recognizer.predict(iter(photos))
    assert [faces[0].box[2] for faces in actual] == [9, 7, 5, 8]


@pytest.mark.parametrize(
    "start", ["atexit.register", "lambda f: threading.Thread(target=f).start()"]
)
def test_predicts_after_the_end_of_the_main_thread(start):
    code = f"""
import atexit, threading, time
import numpy as np
from fer import Recognizer

recognizer, main = Recognizer(threads=2), threading.main_thread()

def predict():
    while threading.current_thread() is not main and main.is_alive():
        time.sleep(0.01)
    time.sleep(0.1)
    print(len(recognizer.predict([np.zeros((48, 48), np.uint8)] * 20, face=True)))

({start})(predict)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("20\n", "")
