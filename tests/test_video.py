import csv
import json
import signal
import socket
import subprocess
import sys
import threading
from fractions import Fraction
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import av
import numpy as np
import pytest
from PIL import Image
from test_recognizer import PHOTO

from fer import Recognizer
from fer.cli import main
from fer.core.errors import FerError
from fer.predict import drawing
from fer.video import predict_video, reader
from fer.video.reader import Camera, Video
from fer.video.writer import open_writer

SOUND_RATE = 48_000


def photo_at(number, step=10):
    """Return the photo, moved down by `step` pixels per frame."""
    image = Image.open(PHOTO).convert("RGB")
    frame = Image.new("RGB", image.size)
    frame.paste(image, (0, step * number))
    return frame


def make_video(path, frames=6, rate=5.0, step=10):
    with open_writer(path, rate) as file:
        for number in range(frames):
            file.write(photo_at(number, step), number / rate)
    return path


def encode(path, codec="h264", frames=40, rate=10, sound=None, faststart=False, **options):
    """Write images, or so many of noise, which take as many bytes each, with PyAV alone.

    `sound` is a codec and its samples, float32 [1, N].
    """
    if isinstance(frames, int):
        noise = np.random.default_rng(0).integers(0, 256, (frames, 48, 64, 3), np.uint8)
        frames = [Image.fromarray(pixels) for pixels in noise]
    movflags = {"movflags": "+faststart"} if faststart else {}
    with av.open(str(path), "w", options=movflags) as container:
        stream = container.add_stream(codec, rate=rate, options=options)
        stream.width, stream.height = frames[0].size
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        audio = sound and container.add_stream(sound[0], rate=SOUND_RATE, layout="mono")
        for image in frames:
            container.mux(stream.encode(av.VideoFrame.from_image(image)))
        if audio:
            frame = av.AudioFrame.from_ndarray(sound[1], format="fltp", layout="mono")
            frame.rate = SOUND_RATE
            container.mux([*audio.encode(frame), *audio.encode(None)])
        container.mux(stream.encode(None))
    return path


def copy(source, target, start=0.0, until=np.inf):
    """Copy the packets of a video without decoding, as `ffmpeg -itsoffset ... -c copy` does."""
    with av.open(str(source)) as container, av.open(str(target), "w") as output:
        stream = container.streams.video[0]
        copied = output.add_stream_from_template(stream)
        for packet in container.demux(stream):
            if packet.dts is not None:
                shift = round(start / packet.time_base)
                packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                packet.stream = copied
                if packet.pts * packet.time_base < until:
                    output.mux(packet)
    return target


def times(path):
    return [seconds for seconds, _ in Video(path).frames()]


def length(path):
    """Return the seconds that a video lasts, as its container tells."""
    with av.open(str(path)) as container:
        return container.duration / av.time_base


@pytest.fixture
def run(run_main):
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield partial(run_main, main, "predict")
    for number, handler in handlers.items():
        signal.signal(number, handler)


def test_video_as_json_and_drawn(run, tmp_path):
    path = make_video(tmp_path / "in.mp4")
    status, out, err = run("--video", path, "--json", "--draw", tmp_path / "out.mp4")
    assert status == 0
    frames = [json.loads(line) for line in out.splitlines()]
    assert [frame["seconds"] for frame in frames] == [0, 0.2, 0.4, 0.6, 0.8, 1.0]
    faces = [frame["faces"][0] for frame in frames]
    tops = [face["box"][1] for face in faces]
    assert tops == sorted(tops)
    assert tops[-1] - tops[0] == pytest.approx(50, abs=5)
    assert {face["id"] for face in faces} == {0}
    assert all(face["score"] > 0.6 for face in faces)
    assert err.splitlines()[0] == f"{path}: 1.20 s, faces: 1"  # the summary, beside the JSON
    drawn = [frame for _, frame in Video(tmp_path / "out.mp4").frames()]
    assert len(drawn) == 6
    assert drawn[0].size == Image.open(PHOTO).size
    rows = list(csv.DictReader(run("--video", path, "--csv")[1].splitlines()))
    assert [(row["seconds"], row["id"]) for row in rows[:2]] == [("0.0", "0"), ("0.2", "0")]
    assert list(rows[0])[:9] == [
        *("file", "seconds", "id", "left", "top", "right", "bottom", "score", "emotion")
    ]


def test_text_ends_with_a_summary(run, tmp_path):
    path = make_video(tmp_path / "in.mp4")
    _, out, err = run("--video", path)
    assert err == ""
    title, face = out.splitlines()[-2:]
    assert title == f"{path}: 1.20 s, faces: 1"
    assert face.startswith("face 0, 1.20 s, share of time: ")
    assert "%" in face


def test_each_second_frame(run, tmp_path):
    path = make_video(tmp_path / "in.mp4")
    _, out, _ = run("--video", path, "--json", "--every", 2, "--draw", tmp_path / "out.mp4")
    assert [json.loads(line)["seconds"] for line in out.splitlines()] == [0, 0.4, 0.8]
    assert times(tmp_path / "out.mp4") == pytest.approx([0, 0.4, 0.8, 1.0])  # the last one twice
    assert length(tmp_path / "out.mp4") == pytest.approx(1.2, abs=0.01)
    assert "works for videos only" in str(run(PHOTO, "--every", 2)[0])
    assert run("--video", path, "--every", 0)[0] == (
        "error: every is 0; use 1 for each frame, 2 for each second one, ..."
    )


def test_python_has_the_same_frames(tmp_path):
    path = make_video(tmp_path / "in.mp4", frames=3)
    frames = list(predict_video(Recognizer(), path))
    assert [frame.seconds for frame in frames] == pytest.approx([0, 0.2, 0.4])
    assert [face.id for frame in frames for face in frame.faces] == [0, 0, 0]
    assert frames[0].image.size == Image.open(PHOTO).size
    with pytest.raises(FerError, match="no such file"):
        predict_video(Recognizer(), tmp_path / "none.mp4")
    video = Video(path)
    assert len(list(video.frames())) == 3
    with pytest.raises(FerError, match="was read already; open it again"):
        list(video.frames())


def test_trimmed_video_is_not_damaged(run, tmp_path):
    path = encode(tmp_path / "in.mp4", g="250", bf="0")
    cut = copy(path, tmp_path / "cut.mp4", start=-2.7, until=0.5)  # from the one key frame
    status, out, err = run("--video", cut, "--draw", tmp_path / "out.mp4")
    assert (status, err) == (0, "")
    seconds = times(cut)
    assert 4 <= len(seconds) <= 6
    assert seconds[0] == 0
    assert len(out.splitlines()) == len(seconds) + 1
    assert times(tmp_path / "out.mp4") == pytest.approx(seconds)


@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".ts"])
def test_video_that_starts_later(run, tmp_path, suffix):
    path = copy(encode(tmp_path / "in.mp4"), tmp_path / f"off{suffix}", start=2.0)
    assert run("--video", path, "--draw", tmp_path / "out.mp4")[::2] == (0, "")
    assert times(path) == pytest.approx(np.arange(40) / 10, abs=0.002)
    assert length(tmp_path / "out.mp4") == pytest.approx(4.0, abs=0.02)


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        *(("v.mkv", "h264"), ("v.avi", "mpeg4"), ("v.webm", "libvpx-vp9")),
        *(("v.flv", "h264"), ("v.mov", "h264"), ("av1.webm", "libsvtav1")),
    ],
)
def test_recording_that_was_cut_off(run, tmp_path, monkeypatch, name, codec):
    monkeypatch.setenv("SVT_LOG", "0")
    path = encode(tmp_path / name, codec, faststart=name == "v.mov")
    assert run("--video", path)[::2] == (0, "")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    status, out, err = run("--video", path, "--draw", tmp_path / "out.mp4")
    assert str(status).startswith(f"error: {path}: is damaged")
    assert err == ""
    frames = len(out.splitlines()) - 1
    assert 10 < frames < 30
    assert len(times(tmp_path / "out.mp4")) == frames  # what was drawn is kept


def test_damage_in_the_middle(run, tmp_path):
    path = encode(tmp_path / "in.mp4", g="5")
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + len(content) // 10] = bytes(len(content) // 10)
    path.write_bytes(content)
    status, out, err = run("--video", path, "--json", "--draw", tmp_path / "out.mp4")
    assert str(status).startswith(f"error: {path}: is damaged near ")
    assert 25 < len(out.splitlines()) < 40  # the frames after the damage too
    assert len(err.splitlines()) == 1
    assert len(times(tmp_path / "out.mp4")) == len(out.splitlines())


@pytest.mark.parametrize("rate", [Fraction(666_667, 10_000), Fraction(105_611, 500), 1000, 1])
def test_unusual_rates(run, tmp_path, rate):
    path = encode(tmp_path / "in.mp4", frames=20, rate=rate)
    assert run("--video", path, "--draw", tmp_path / "out.mp4")[::2] == (0, "")
    assert times(tmp_path / "out.mp4") == pytest.approx(np.arange(20) / float(rate), abs=1e-4)
    assert length(tmp_path / "out.mp4") == pytest.approx(20 / rate, rel=0.01)


def test_each_frame_has_its_own_time_and_a_size_may_change(run, tmp_path):
    uneven = [0, 0.1, 0.5, 0.6, 2.0]
    sizes = [(65, 33)] * 4 + [(32, 96)]
    with open_writer(tmp_path / "in.mp4", rate=10) as file:
        for seconds, size in zip(uneven, sizes, strict=True):
            file.write(Image.new("RGB", size, (255, 0, 0)), seconds)
    status, out, _ = run("--video", tmp_path / "in.mp4", "--json", "--draw", tmp_path / "out.mp4")
    assert status == 0
    assert [json.loads(line)["seconds"] for line in out.splitlines()] == uneven
    frames = list(Video(tmp_path / "out.mp4").frames())
    assert [seconds for seconds, _ in frames] == pytest.approx(uneven, abs=1e-3)
    assert {image.size for _, image in frames} == {(66, 34)}  # even sides
    np.testing.assert_allclose(frames[0][1].getpixel((3, 15)), (255, 0, 0), atol=5)
    np.testing.assert_allclose(frames[4][1].getpixel((3, 15)), (0, 0, 0), atol=5)  # black bars


def pq(light):
    """Return the code, 0 to 1, of light in nits (SMPTE ST 2084)."""
    power = (light / 10_000) ** 0.1593017578125
    return ((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375


def hlg(light):
    """Return the code, 0 to 1, of light from a scene, where 203 is white (ARIB STD-B67)."""
    light = 0.265 * light / 203
    upper = 0.17883277 * np.log(np.maximum(12 * light - 0.28466892, 0.1)) + 0.55991073
    return np.where(light <= 1 / 12, np.sqrt(3 * light), upper)


@pytest.mark.parametrize(("encode_light", "transfer"), [(pq, 16), (hlg, 18)])
def test_hdr_has_the_contrast_of_sdr(run, tmp_path, encode_light, transfer):
    grey = np.tile(np.arange(256.0), (64, 1))
    light = encode_light(203 * (grey / 255) ** 2.4)
    frame = av.VideoFrame(256, 64, "yuv420p10le")
    frame.planes[0].update((64 + 876 * light).round().astype(np.uint16).tobytes())
    for plane in frame.planes[1:]:
        plane.update(np.full(128 * 32, 512, np.uint16).tobytes())
    with av.open(str(tmp_path / "hdr.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=5)
        stream.width, stream.height, stream.pix_fmt = 256, 64, "yuv420p10le"
        context = stream.codec_context
        context.color_trc, context.color_primaries, context.colorspace = transfer, 9, 9  # BT.2020
        container.mux([*stream.encode(frame), *stream.encode(None)])
    assert run("--video", tmp_path / "hdr.mkv", "--draw", tmp_path / "sdr.mp4")[0] == 0
    for name in ("hdr.mkv", "sdr.mp4"):
        ((_, image),) = Video(tmp_path / name).frames()
        assert np.abs(np.asarray(image.convert("L")) - grey).mean() < 15


def test_last_frame_has_its_own_length(run, tmp_path):
    frames = [Image.new("RGB", (64, 48), (grey, grey, grey)) for grey in (20, 200)]
    path = tmp_path / "uneven.apng"
    frames[0].save(path, "PNG", save_all=True, append_images=frames[1:], duration=[200, 800])
    _, out, _ = run("--video", path, "--draw", tmp_path / "out.mp4")
    assert out.splitlines()[-1] == f"{path}: 1.00 s, faces: 0"
    assert length(tmp_path / "out.mp4") == pytest.approx(1.0, abs=0.05)


def test_frames_of_joined_videos_go_on(tmp_path):
    encode(tmp_path / "one.ts", "mpeg2video", 50, 25)
    (tmp_path / "two.ts").write_bytes(2 * (tmp_path / "one.ts").read_bytes())
    frames = times(tmp_path / "two.ts")
    assert len(frames) >= 98
    np.testing.assert_allclose(np.diff(frames), 0.04, atol=0.01)


def test_avi_whose_frames_are_reordered(tmp_path):
    images = [photo_at(number, step=5).resize((320, 240)) for number in range(50)]
    path = encode(tmp_path / "in.avi", frames=images, rate=25, bf="3", b_pyramid="normal")
    assert times(path) == pytest.approx(np.arange(50) / 25, abs=0.001)


@pytest.mark.parametrize(
    ("name", "codec", "sound"),
    [("v.mp4", "h264", "aac"), ("v.ts", "h264", "aac"), ("v.avi", "mpeg4", "pcm_s16le")],
)
def test_drawing_plays_in_browsers_and_keeps_the_sound(run, tmp_path, name, codec, sound):
    silence = np.zeros((1, 2 * SOUND_RATE), np.float32)
    path = encode(tmp_path / name, codec, rate=20, sound=(sound, silence))
    assert run("--video", path, "--draw", tmp_path / "out.mp4")[::2] == (0, "")
    with av.open(str(tmp_path / "out.mp4")) as container:
        picture, audio = container.streams.video[0], container.streams.audio[0]
        assert picture.codec_context.name == "h264"
        assert picture.codec_context.pix_fmt == "yuv420p"
        assert audio.codec_context.name == "aac"
        seconds = [float(frame.pts * frame.time_base) for frame in container.decode(audio)]
        assert seconds[0] == pytest.approx(0, abs=0.05)
        assert seconds[-1] == pytest.approx(2, abs=0.1)
    content = (tmp_path / "out.mp4").read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")  # browsers start at once


def matrix_bytes(a, b, c, d):
    """Return the display matrix of a track in an MP4 file."""
    values = [a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30]
    return np.array(values, ">i4").tobytes()


@pytest.mark.parametrize(
    ("matrix", "turn"),
    [
        ((-1, 0, 0, 1), Image.Transpose.FLIP_LEFT_RIGHT),
        ((1, 0, 0, -1), Image.Transpose.FLIP_TOP_BOTTOM),
        ((-1, 0, 0, -1), Image.Transpose.ROTATE_180),
        ((0, 1, -1, 0), Image.Transpose.ROTATE_270),
        ((0, -1, 1, 0), Image.Transpose.ROTATE_90),
        ((0, 1, 1, 0), Image.Transpose.TRANSPOSE),
        ((0, -1, -1, 0), Image.Transpose.TRANSVERSE),
    ],
)
def test_video_of_a_phone_is_turned_upright(tmp_path, matrix, turn):
    path = make_video(tmp_path / "in.mp4", frames=1)
    ((_, image),) = Video(path).frames()
    before, after = path.read_bytes().rsplit(matrix_bytes(1, 0, 0, 1), 1)
    path.write_bytes(before + matrix_bytes(*matrix) + after)
    ((_, result),) = Video(path).frames()
    assert result == image.transpose(turn)


def test_wide_pixels_become_square(tmp_path):
    path = encode(tmp_path / "in.mkv", frames=[Image.new("RGB", (96, 72))], aspect="4/3")
    ((_, image),) = Video(path).frames()
    assert image.size == (128, 72)


def test_what_is_no_video(run, tmp_path):
    (tmp_path / "notes.txt").write_text("no video\n" * 500)
    encode(tmp_path / "cut.mp4")
    content = (tmp_path / "cut.mp4").read_bytes()
    (tmp_path / "codec.mp4").write_bytes(content.replace(b"avc1", b"evc1"))
    (tmp_path / "cut.mp4").write_bytes(content[: len(content) // 2])  # without its index
    with av.open(str(tmp_path / "sound.mp3"), "w") as container:
        stream = container.add_stream("mp3", rate=SOUND_RATE, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, SOUND_RATE), np.float32), "fltp", "mono")
        frame.rate = SOUND_RATE
        container.mux([*stream.encode(frame), *stream.encode(None)])
    for name, message in (
        ("notes.txt", "is not a video that can be read; convert it to MP4"),
        ("cut.mp4", "is not a video that can be read; convert it to MP4"),
        ("codec.mp4", "has no video that can be decoded; convert it to H.264 in MP4"),
        ("sound.mp3", "has no video that can be decoded; convert it to H.264 in MP4"),
        (".", "no such file; check the name"),
    ):
        path = tmp_path / name
        result = run("--video", path, "--draw", tmp_path / "out.mp4")
        assert result == (f"error: {path}: {message}", "", "")
    assert not (tmp_path / "out.mp4").exists()


def test_name_with_a_colon(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    encode(tmp_path / "in.mp4", frames=2).rename("12:30.mp4")
    assert run("--video", "12:30.mp4", "--draw", "http:x.mp4")[0] == 0
    assert (tmp_path / "http:x.mp4").exists()


def test_video_that_cannot_be_written(run, tmp_path):
    path = encode(tmp_path / "in.mp4", frames=1)
    with (
        pytest.raises(FerError, match=r"v\.mp4: cannot be written"),
        open_writer(tmp_path / "v.mp4", 5.0) as file,
    ):
        file.write(Image.new("RGB", (20_000, 8)), 0.0)
    with pytest.raises(FerError, match="has no frames"), open_writer(tmp_path / "v.mp4", 5.0):
        pass
    assert "use the suffix .mp4" in str(run("--video", path, "--draw", tmp_path / "v.mov")[0])
    assert list(tmp_path.iterdir()) == [path]


def test_without_pyav():
    code = (
        "import sys; sys.modules['av'] = None\n"  # which makes its import fail
        "try:\n    import fer.video\n"
        "except ModuleNotFoundError as error:\n    print(error.name)\n"
        "from fer.cli import main; main()"
    )
    command = [sys.executable, "-c", code, "predict"]
    done = subprocess.run([*command, "--video", "in.mp4"], capture_output=True, text=True)
    message = "this command needs av; pip install 'fer-pipeline[video]'"
    assert (done.returncode, done.stdout, done.stderr) == (1, "av\n", f"error: {message}\n")
    assert subprocess.run([*command, PHOTO], capture_output=True).returncode == 0


@pytest.fixture
def camera(monkeypatch):
    """A camera of 30 frames per second without end, which FFmpeg draws."""
    monkeypatch.setitem(reader._DEVICES, sys.platform, "lavfi")
    return "testsrc=size=64x48:rate=30"


def test_missing_camera_is_a_clear_error(run):
    status, out, err = run("--webcam", 97)
    assert str(status).startswith("error: --webcam 97: cannot be opened: ")
    assert (out, err) == ("", "")


def test_ctrl_c_ends_a_camera_and_keeps_its_film(run, camera, tmp_path, monkeypatch):
    count = iter(range(1000))

    def draw_boxes(image, faces):
        if next(count) == 4:
            signal.raise_signal(signal.SIGINT)
        return image

    monkeypatch.setattr(drawing, "draw_boxes", draw_boxes)
    status, out, err = run("--webcam", camera, "--draw", tmp_path / "out.mp4")
    assert (status, err) == (0, "")
    assert len(times(tmp_path / "out.mp4")) == len(out.splitlines()) - 1 >= 5


def test_camera_gives_its_newest_frame_and_can_be_stopped(camera, monkeypatch):
    is_taken, are_read = threading.Event(), threading.Event()

    def timed_frames(self):
        yield 0.0, av.VideoFrame(8, 8)
        is_taken.wait()
        for number in range(1, 10):
            yield number / 30, av.VideoFrame(8, 8)
        are_read.set()
        threading.Event().wait()  # as a driver that blocks

    monkeypatch.setattr(Video, "_timed_frames", timed_frames)
    source = Video(Camera(camera))
    frames = source.frames()
    assert next(frames)[0] == 0
    is_taken.set()
    are_read.wait()
    assert next(frames)[0] == 9 / 30
    source.stop()
    assert list(frames) == []


@pytest.fixture
def serve(tmp_path, monkeypatch):
    """Serve the folder by HTTP; return the address of a file."""
    monkeypatch.setattr(SimpleHTTPRequestHandler, "log_message", lambda *_: None)
    handler = partial(SimpleHTTPRequestHandler, directory=tmp_path)
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield lambda name: f"http://127.0.0.1:{server.server_port}/{name}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(("name", "codec"), [("v.webm", "libvpx-vp9"), ("v.mjpeg", "mjpeg")])
def test_file_from_a_server_is_read_whole(run, tmp_path, serve, name, codec):
    encode(tmp_path / name, codec, frames=100)
    status, out, err = run("--video", serve(name), "--draw", tmp_path / "out.mp4")
    assert (status, err, len(out.splitlines())) == (0, "", 101)
    assert out.startswith(f"{serve(name)}, 0.00 s: ")
    status, out, err = run("--video", serve("none.webm"))
    assert "404 Not Found; check the address" in str(status)
    assert (out, err) == ("", "")


def test_stream_that_stalls(run, monkeypatch):
    monkeypatch.setattr(reader, "_TIMEOUT", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as server:  # accepts, and never answers
        url = f"http://127.0.0.1:{server.getsockname()[1]}/live"
        assert run("--video", url) == (
            f"error: {url}: no data came for 0 s; check the address", "", ""
        )  # fmt: skip
