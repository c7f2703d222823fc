"""The command `fer predict` for images."""

import csv
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_recognizer import PHOTO
from test_video import make_video

from fer.cli import main
from fer.images import reading

DOCS = Path(__file__).parents[1] / "docs"


@pytest.fixture
def run(run_main):
    """Run the command; return exit status, standard output and standard error."""

    def run(*arguments):
        status, out, err = run_main(main, *arguments)
        # The interpreter prints a status that is a message.
        return (1, out, f"{err}{status}\n") if isinstance(status, str) else (status, out, err)

    return run


def run_process(*arguments, **options):
    """Run the command in a process of its own."""
    command = [sys.executable, "-m", "fer", *map(str, arguments)]
    return subprocess.run(command, **{"capture_output": True, "text": True} | options)


@pytest.fixture
def folder(tmp_path):
    """A folder with a photo, an image without a face, a broken image and a text file."""
    folder = tmp_path / "photos"
    folder.mkdir()
    shutil.copy(PHOTO, folder / "a.jpg")
    Image.new("RGB", (300, 200)).save(folder / "b.png")
    (folder / "c.jpg").write_bytes(b"no image")
    (folder / "notes.txt").write_text("not an image, and ignored")
    return folder


def copy_photo(*paths):
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(PHOTO, path)


def names(folder):
    """Return the files in a folder and below, by their paths in it."""
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def test_version_and_help(run):
    assert run("--version") == (0, f"{version('fer-pipeline')}\n", "")
    assert run_process("--version").stdout == f"{version('fer-pipeline')}\n"
    assert run()[1].startswith("usage: fer")


def test_below_the_confidence_it_is_unsure(run, folder, tmp_path):
    photo, options = folder / "a.jpg", ("--min-confidence", "0.999")
    assert ": unsure, at " in run("predict", photo, *options)[1]
    (face,) = json.loads(run("predict", photo, "--json", *options)[1])["faces"]
    assert face["emotion"] == "unsure"
    assert max(face["probabilities"].values()) < 0.999
    assert run("predict", photo, "--csv", *options)[1].splitlines()[1].split(",")[8] == "unsure"
    drawings = []
    for chosen in ((), options):
        path = tmp_path / f"{len(chosen)}.png"
        assert run("predict", photo, *chosen, "--draw", path)[0] == 0
        drawings.append(path.read_bytes())
    assert drawings[0] != drawings[1]
    assert "Neutral" in run("predict", photo, "--min-confidence", "0.3")[1]
    message = "error: min_confidence is 60.0: use a probability from 0 to 1\n"
    assert run("predict", photo, "--min-confidence", "60") == (1, "", message)


def test_recursive_reads_folders_in_folders(run, tmp_path):
    copy_photo(tmp_path / "one/a.jpg", tmp_path / "one/two.jpg/b.JPG", tmp_path / ".hidden/b.jpg")
    (tmp_path / "one/notes.txt").touch()
    (tmp_path / "one/._a.jpg").write_bytes(b"resource fork of macOS")
    status, out, err = run("predict", tmp_path, "--recursive")
    assert status == 0
    assert [line.partition(":")[0] for line in out.splitlines()] == [
        str(tmp_path / "one/a.jpg"),
        str(tmp_path / "one/two.jpg/b.JPG"),
    ]
    assert err == ""
    status, out, err = run("predict", tmp_path)
    assert (status, out) == (1, "")
    assert f"error: {tmp_path}: holds no images" in err


def test_provider_is_one_of_onnx_runtimes(run):
    assert run("predict", PHOTO, "--provider", "CPU") == run("predict", PHOTO)
    status, out, err = run("predict", PHOTO, "--provider", "abacus")
    assert (status, out) == (1, "")
    assert err.startswith("error: providers: this ONNX Runtime has no abacus; use ")


def test_score_of_the_detection(run):
    _, out, _ = run("predict", PHOTO, "--json")
    (face,) = json.loads(out)["faces"]
    assert 0.6 <= face["score"] <= 1
    _, out, _ = run("predict", PHOTO, "--csv")
    (row,) = csv.DictReader(out.splitlines())
    assert float(row["score"]) == face["score"]
    assert run("predict", PHOTO, "--min-score", "1")[1] == f"{PHOTO}: no face found\n"


def test_json_and_csv_of_a_folder(run, folder):
    status, out, err = run("predict", folder, "--json")
    assert status == 1
    assert err == (
        f"error: {folder / 'c.jpg'}: is not an image, or of a kind that cannot be read\n"
    )
    first, second = map(json.loads, out.splitlines())
    assert first["file"] == str(folder / "a.jpg")
    assert second == {"file": str(folder / "b.png"), "faces": []}
    (face,) = first["faces"]
    assert len(face["box"]) == 4

    status, out, _ = run("predict", folder, "--csv")
    assert status == 1
    row, row_without_face = csv.DictReader(out.splitlines())
    assert row_without_face == dict.fromkeys(row, "") | {"file": str(folder / "b.png")}
    assert row["emotion"] == face["emotion"]
    assert float(row[face["emotion"]]) == pytest.approx(
        face["probabilities"][face["emotion"]], abs=1e-4
    )


def test_draw(run, folder, tmp_path):
    run("predict", PHOTO, "--draw", tmp_path / "d.png")
    drawn, plain = np.asarray(Image.open(tmp_path / "d.png")), np.asarray(Image.open(PHOTO))
    assert drawn.shape == plain.shape
    changed = np.argwhere((drawn != plain).any(2))
    assert 60 < changed.min(0)[0] < 130  # the label, above the face

    assert run("predict", folder, "--draw", tmp_path / "drawn")[0] == 1
    assert names(tmp_path / "drawn") == ["a.jpg", "b.png"]


def test_names_of_drawings(run, tmp_path):
    """Folders keep their structure; a name without the suffix of an image gets .png."""
    inputs = [tmp_path / name for name in ("one", "two.jpg", "old.dat", "more/two.jpg")]
    copy_photo(*inputs)
    for _ in range(2):
        status, _, err = run("predict", *inputs, "--draw", tmp_path / "drawn")
        assert (status, err) == (0, "")
    assert names(tmp_path / "drawn") == ["more/two.jpg", "old.dat.png", "one.png", "two.jpg"]
    assert Image.open(tmp_path / "drawn/one.png").format == "PNG"
    assert run("predict", tmp_path / "one", "--draw", tmp_path / "drawn")[0] == 0


def test_standard_input(run, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for _ in range(2):  # drawn again
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(PHOTO.read_bytes())))
        status, out, err = run("predict", "-", "--draw", ".")
        assert (status, err) == (0, "")
        assert out.startswith("-: Neutral ")
    assert names(tmp_path) == ["-.png"]


def test_unreadable_folder(run, tmp_path, monkeypatch):
    (tmp_path / "secret").mkdir()
    original_scandir = os.scandir

    def scandir(path):  # raises here, because permissions have no effect on root
        if Path(path).name == "secret":
            raise PermissionError(13, "Permission denied", str(path))
        return original_scandir(path)

    monkeypatch.setattr(os, "scandir", scandir)
    message = f"error: {tmp_path / 'secret'}: cannot be read: Permission denied\n"
    assert run("predict", tmp_path, "--recursive") == (1, "", message)


def test_image_that_cannot_be_used_does_not_stop_the_others(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.new("LAB", (40, 40)).save("a", "TIFF")  # its name is also a word of the error
    Image.new("RGB", (40, 40)).save("b.png")
    os.mkfifo("pipe.jpg")
    status, out, err = run("predict", "a", "pipe.jpg", "x" * 300, "b.png")
    assert (status, out) == (1, "b.png: no face found\n")
    assert err.splitlines() == [
        "error: a: the image has mode LAB; convert it to RGB or grey",
        "error: pipe.jpg: is no regular file; pass - to read from a pipe",
        f"error: {'x' * 300}: cannot be read: File name too long",
    ]


@pytest.mark.parametrize("form", ["--json", "--csv"])
def test_full_disk(folder, form):
    with open("/dev/full", "w") as full:
        options = {"capture_output": False, "stdout": full, "stderr": subprocess.PIPE}
        done = run_process("predict", folder / "b.png", form, **options)
    assert done.returncode == 1
    assert done.stderr == "error: [Errno 28] No space left on device\n"


def test_letters_that_the_terminal_cannot_show_are_escaped(folder, tmp_path):
    shutil.copy(folder / "b.png", tmp_path / "東.png")
    latin = os.environ | {"PYTHONIOENCODING": "latin-1"}
    done = run_process("predict", tmp_path / "東.png", env=latin)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{tmp_path}/\\u6771.png: no face found\n"


def test_writes_nothing_outside_the_working_folder(folder, tmp_path):
    """ONNX Runtime's telemetry would leave a device id in the user's cache."""
    variables = ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "TMPDIR")
    home = tmp_path / "home"
    home.mkdir()
    environment = os.environ | dict.fromkeys(variables, str(home))
    options = {"env": environment, "cwd": folder}
    done = run_process("predict", folder / "a.jpg", "--draw", folder / "drawn.png", **options)
    assert (done.returncode, done.stderr) == (0, "")
    assert (folder / "drawn.png").exists()
    assert list(home.rglob("*")) == []


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_end_without_a_traceback(run, folder, monkeypatch, number, status):
    read = reading.read

    def read_and_stop(*arguments):
        signal.raise_signal(number)
        return read(*arguments)

    monkeypatch.setattr(reading, "read", read_and_stop)
    # A shell starts what runs in the background without it.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    result = run("predict", folder / "a.jpg", "--draw", folder / "drawn.png")
    signal.signal(signal.SIGINT, before)
    assert (result[0], result[2]) == (status, "")
    assert {*names(folder)} - {"drawn.png"} == {"a.jpg", "b.png", "c.jpg", "notes.txt"}


def test_small_faces_give_a_warning(run, tmp_path):
    Image.new("L", (23, 30)).save(tmp_path / "small.png")
    Image.new("L", (24, 30)).save(tmp_path / "large.png")
    status, out, err = run("predict", tmp_path / "large.png", tmp_path / "small.png", "--face")
    assert status == 0
    assert "at 0,3 to 23,26" in out  # the central square
    assert err == "warning: 1 faces are under 24 pixels; their emotions are guesses\n"


def test_files_beside_the_inputs_are_never_overwritten(run, tmp_path):
    """Cameras reuse file names: `top/a.jpg` is another photo than `top/more/a.jpg`."""
    top = tmp_path / "top"
    copy_photo(top / "more/a.jpg", top / "more/b.jpg", tmp_path / "other/more/a.jpg")
    (top / "a.jpg").write_bytes(b"another photo")
    (top / "links").mkdir()
    (top / "links/a.jpg").symlink_to(PHOTO)
    (top / "link").symlink_to(tmp_path / "other")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.jpg")}
    for arguments in (
        (top / "more", "--draw", top),
        (top / "links", "--draw", top),
        (top, "--recursive", "--draw", top / "link"),  # which is not read
    ):
        status, out, err = run("predict", *arguments)
        assert (status, out) == (1, "")
        assert "may be one of the inputs; name another place" in err
    assert before == {path: path.read_bytes() for path in before}
    for _ in range(2):  # a folder of drawings may be drawn again
        assert run("predict", top / "more", "--draw", top / "more/drawn")[0] == 0


def test_inputs_are_never_overwritten(run, folder, tmp_path):
    photo, video = folder / "a.jpg", make_video(tmp_path / "in.mp4", frames=1)
    (folder / "link.jpg").symlink_to(photo)
    (tmp_path / "hard.jpg").hardlink_to(photo)
    before = {path: path.read_bytes() for path in (photo, folder / "b.png", video)}
    for arguments in (
        (photo, "--draw", photo),
        (photo, "--draw", folder / "link.jpg"),
        (photo, "--draw", tmp_path / "hard.jpg"),
        (folder, "--draw", folder),
        ("--video", video, "--draw", video),
    ):
        status, out, err = run("predict", *arguments)
        assert (status, out) == (1, "")
        assert "may be one of the inputs; name another place" in err
    assert before == {path: path.read_bytes() for path in before}


def test_unwritable_drawing_does_not_stop_the_other_images(run, tmp_path):
    (tmp_path / "in").mkdir()
    Image.new("L", (70000, 9)).save(tmp_path / "in" / "a.png")  # wider than WebP and GIF allow
    Image.new("L", (40, 40)).save(tmp_path / "in" / "b.png")
    for name in ("a.webp", "a.gif", "in/b.png/d.png"):
        status, _, err = run("predict", tmp_path / "in" / "a.png", "--draw", tmp_path / name)
        assert (status, err.count("\n")) == (1, 1)
        assert err.startswith(f"error: {tmp_path / name}: cannot be written: ")
    (tmp_path / "out/a.png").mkdir(parents=True)
    status, out, err = run("predict", tmp_path / "in", "--draw", tmp_path / "out")
    assert (status, err.count("\n"), out.count("no face found")) == (1, 1, 2)
    assert names(tmp_path / "out") == ["b.png"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "takes images, --video or --webcam; give one of them"),
        (("in.mp4",), "in.mp4: is a video; give it to --video"),
        (("photo.jpg", "--webcam"), "takes images, --video or --webcam; give one of them"),
        (("--video", ""), "a file name is empty; write . for the current folder"),
        (("photo.jpg",), "photo.jpg: cannot be read: No such file"),
        (("a.heic",), "a.heic: is a HEIC photo; pip install pillow-heif"),
        (("--video", "in.mp4"), "in.mp4: no such file"),
        (("--video", "broken.mp4"), "broken.mp4: is not a video"),
        (("--video", "v", "--face"), "--face: works for images only; give images"),
        (("empty",), "empty: holds no images; name another folder"),
        (("photo.jpg", "--draw", "out.txt"), "out.txt: is no name for an image; use the suffix"),
        (("a.jpg", "b.jpg", "--draw", "c.png"), "c.png: is the name of a file; for several"),
        (("photo.jpg", "--model", "large", "--precision", "float32"), "only nano in float32"),
        ((PHOTO, "--min-score", "2"), "min_score is 2"),
        ((PHOTO, "--min-face", "23"), "min_face is 23"),
    ],
)
def test_mistakes_are_one_line(run, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(100))
    status, out, err = run("predict", *arguments)
    assert (status, err.count("\n")) == (1, 1)
    assert out == ""
    assert err.startswith("error: ")
    assert message in err


def test_photo_of_readme_gives_what_readme_prints(run, tmp_path, monkeypatch):
    """Other processors may round to the next percent or pixel."""
    shutil.copy(DOCS / "photo.jpg", tmp_path)
    monkeypatch.chdir(tmp_path)
    _, out, _ = run("predict", "photo.jpg", "--draw", "marked.png")
    readme = (DOCS.parent / "README.md").read_text()
    printed = re.search(r"```\n(photo\.jpg: .*?)```", readme, re.DOTALL)[1]
    assert re.sub(r"\d+", "0", out) == re.sub(r"\d+", "0", printed)
    numbers = [[int(number) for number in re.findall(r"\d+", text)] for text in (out, printed)]
    np.testing.assert_allclose(*numbers, atol=1)
    drawn, committed = (
        np.asarray(Image.open(path).convert("L"), int)
        for path in ("marked.png", DOCS / "predict.jpg")
    )
    assert np.abs(drawn - committed).mean() < 3
