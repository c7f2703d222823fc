import csv
import io
import json
import os
import shutil
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


def fer(monkeypatch, capsys, *arguments):
    """Run the command; return exit status, standard output and standard error."""
    monkeypatch.setattr(sys, "argv", ["fer", *map(str, arguments)])
    status = 0
    try:
        main()
    except SystemExit as stop:
        status = stop.code
        if isinstance(status, str):  # as the interpreter does with a message
            print(status, file=sys.stderr)
            status = 1
    return status, *capsys.readouterr()


@pytest.fixture
def run(monkeypatch, capsys):
    return lambda *arguments: fer(monkeypatch, capsys, *arguments)


def run_process(*arguments, **options):
    """Run the command in a process of its own."""
    code = "from fer.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        **{"capture_output": True, "text": True, "timeout": 60} | options,
    )


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


def test_prints_the_emotion(run):
    status, out, err = run("predict", PHOTO)
    assert (status, err) == (0, "")
    assert out.startswith(f"{PHOTO}: Neutral ")


def test_hidden_files_and_folders_with_names_of_images_are_ignored(run, tmp_path):
    shutil.copy(PHOTO, tmp_path / "a.jpg")
    (tmp_path / "._a.jpg").write_bytes(b"resource fork of macOS")
    (tmp_path / ".hidden").mkdir()
    shutil.copy(PHOTO, tmp_path / ".hidden" / "b.jpg")
    (tmp_path / "sub.jpg").mkdir()
    status, out, err = run("predict", tmp_path)
    assert (status, out.count("\n")) == (0, 1)
    assert err == f"note: {tmp_path}: ignored folders (use --recursive): 1\n"


def test_recursive_reads_folders_in_folders(run, tmp_path):
    for name in ("one/a.jpg", "one/two/b.JPG"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(PHOTO, tmp_path / name)
    (tmp_path / "one" / "notes.txt").touch()
    status, out, err = run("predict", tmp_path, "--recursive")
    assert status == 0
    assert [line.partition(":")[0] for line in out.splitlines()] == [
        str(tmp_path / "one" / "a.jpg"),
        str(tmp_path / "one" / "two" / "b.JPG"),
    ]
    assert err == f"note: {tmp_path}: ignored files that are no images: 1\n"
    status, out, err = run("predict", tmp_path)
    assert (status, out) == (1, "")
    assert f"error: {tmp_path}: holds no images" in err


def test_recursive_never_overwrites_what_it_does_not_read(run, tmp_path):
    top, other = tmp_path / "top", tmp_path / "other"
    for name in ("top/sub/x.jpg", "other/sub/x.jpg", "top/y.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(PHOTO, tmp_path / name)
    (top / "link").symlink_to(other)
    before = (other / "sub" / "x.jpg").read_bytes()
    status, out, err = run("predict", top, "--recursive", "--draw", top / "link")
    assert (status, out) == (1, "")
    assert "ignored links to folders: 1" in err
    assert "exists in a folder with inputs; name another place" in err
    assert (other / "sub" / "x.jpg").read_bytes() == before


def test_drawings_in_a_folder_of_the_inputs_may_be_drawn_again(run, tmp_path):
    shutil.copy(PHOTO, tmp_path / "a.jpg")
    for _ in range(2):
        assert run("predict", tmp_path, "--draw", tmp_path / "drawn")[0] == 0


@pytest.mark.parametrize("kind", ["jfif", "jp2", "ppm", "tga", "avif"])
def test_folders_may_hold_images_of_any_kind_that_pillow_reads(run, tmp_path, kind):
    Image.open(PHOTO).save(tmp_path / f"a.{kind}")
    status, out, err = run("predict", tmp_path)
    assert (status, out.count("\n"), err) == (0, 1, "")


def test_heic_photo_names_the_package_that_reads_it(run, tmp_path):
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(100))
    status, out, err = run("predict", tmp_path)
    assert (status, out) == (1, "")
    assert err == f"error: {tmp_path}/a.heic: is a HEIC photo; pip install pillow-heif\n"


def test_patterns_and_the_home_folder_are_expanded_for_shells_that_do_not(
    run, tmp_path, monkeypatch
):
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("a.jpg", "b.jpg", "[c].jpg"):
        shutil.copy(PHOTO, tmp_path / name)
    assert run("predict", tmp_path / "?.jpg")[1].count("\n") == 2
    assert run("predict", "~/a.jpg")[0] == 0
    monkeypatch.chdir(tmp_path)
    shutil.copy(PHOTO, tmp_path / "~photo.jpg")
    assert run("predict", "~photo.jpg")[0] == 0
    assert run("predict", tmp_path / "[c].jpg")[1].startswith(f"{tmp_path}/[c].jpg: ")
    status, _, err = run("predict", tmp_path / "*.png")
    assert (status, err) == (
        1,
        f"error: {tmp_path}/*.png: cannot be read: No such file or directory\n",
    )


@pytest.mark.parametrize("megapixels", [108, 200])
def test_huge_photos_give_no_warning_of_pillow(tmp_path, megapixels):
    side = int((megapixels * 1e6) ** 0.5) + 1
    Image.new("1", (side, side)).save(tmp_path / "a.png")
    result = run_process("predict", tmp_path / "a.png", timeout=120)
    if megapixels == 108:
        assert (result.returncode, result.stderr) == (0, "")
    else:
        message = "has more than 178 megapixels; shrink it first"
        assert (result.returncode, result.stderr) == (1, f"error: {tmp_path}/a.png: {message}\n")


def test_module_runs_the_command():
    command = [sys.executable, "-m", "fer", "--version"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stdout.strip()) == (0, version("fer-pipeline"))


def test_source_tree_without_metadata_knows_its_version(tmp_path):
    shutil.copytree(Path(reading.__file__).parents[1], tmp_path / "fer")
    code = (
        "import importlib.metadata as m\n"
        "def version(name):\n    raise m.PackageNotFoundError(name)\n"
        "m.version = version\n"
        "import runpy, sys; sys.argv = ['fer', '--version']; runpy.run_module('fer')"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert (result.returncode, result.stdout.strip()) == (0, version("fer-pipeline"))


def test_provider_is_one_of_onnx_runtimes(run):
    assert run("predict", PHOTO, "--provider", "CPU") == run("predict", PHOTO)
    status, out, err = run("predict", PHOTO, "--provider", "abacus")
    assert (status, out) == (1, "")
    assert err.startswith("error: --provider abacus: this ONNX Runtime has only ")


def test_score_of_the_detection(run):
    _, out, _ = run("predict", PHOTO, "--json")
    (face,) = json.loads(out)["faces"]
    assert 0.6 <= face["score"] <= 1
    _, out, _ = run("predict", PHOTO, "--csv")
    (row,) = csv.DictReader(out.splitlines())
    assert float(row["score"]) == face["score"]
    assert run("predict", PHOTO, "--min-score", "1")[1] == f"{PHOTO}: no face found\n"
    for option, value in (("--min-score", "2"), ("--min-face", "5")):
        status, out, err = run("predict", PHOTO, option, value)
        assert (status, out, err.count("\n")) == (1, "", 1)


def test_no_face_is_no_error(run, folder):
    status, out, err = run("predict", folder / "b.png")
    assert (status, err) == (0, "")
    assert out == f"{folder / 'b.png'}: no face found\n"
    status, out, _ = run("predict", folder / "b.png", "--json")
    assert json.loads(out) == {"file": str(folder / "b.png"), "faces": []}


def test_json_and_csv_of_a_folder(run, folder):
    status, out, err = run("predict", folder, "--json")
    assert status == 1
    assert err.splitlines() == [
        f"note: {folder}: ignored files that are no images: 1",
        f"error: {folder / 'c.jpg'}: is not an image, or of a kind that cannot be read",
    ]
    first, second = map(json.loads, out.splitlines())
    assert first["file"] == str(folder / "a.jpg")
    assert second["faces"] == []
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


def test_draw_and_explain(run, folder, tmp_path):
    run("predict", PHOTO, "--draw", tmp_path / "d.png", "--explain", tmp_path / "e.png")
    drawn = np.asarray(Image.open(tmp_path / "d.png"))
    plain = np.asarray(Image.open(PHOTO))
    assert drawn.shape == plain.shape
    changed = np.argwhere((drawn != plain).any(2))
    assert 60 < changed.min(0)[0] < 130  # the label, above the face
    assert Image.open(tmp_path / "e.png").size[0] == 320

    status, _, _ = run("predict", folder, "--draw", tmp_path / "drawn")
    assert status == 1
    assert sorted(p.name for p in (tmp_path / "drawn").iterdir()) == ["a.jpg", "b.png"]


def test_prints_version_and_help(run):
    status, out, _ = run("--version")
    assert (status, out) == (0, f"{version('fer-pipeline')}\n")
    status, out, _ = run()
    assert status == 0
    assert out.startswith("usage: fer")


def test_help_has_examples(run):
    _, out, _ = run("predict", "--help")
    assert "fer predict photo.jpg " in out
    assert "fer-pipeline[video]" in out


def test_standard_input(run, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(PHOTO.read_bytes())))
    status, out, err = run("predict", "-")
    assert (status, err) == (0, "")
    assert out.startswith("-: Neutral ")


def test_standard_input_is_drawn_again(run, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(PHOTO.read_bytes())))
        status, _, err = run("predict", "-", "--draw", ".")
        assert (status, err) == (0, "")
    assert [path.name for path in tmp_path.iterdir()] == ["-.png"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
def test_named_pipe_does_not_hang(folder):
    os.mkfifo(folder / "pipe.jpg")
    done = run_process("predict", folder / "pipe.jpg", folder / "b.png")
    assert done.stdout == f"{folder / 'b.png'}: no face found\n"
    assert done.stderr.startswith(f"error: {folder / 'pipe.jpg'}: is no regular file")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)


def test_empty_name_is_not_the_current_folder(run):
    for arguments in (("",), ("--video", ""), ("a.jpg", "--draw", "")):
        status, out, err = run("predict", *arguments)
        assert (status, out, err) == (
            1,
            "",
            "error: a file name is empty; write . for the current folder\n",
        )


def test_unreadable_folder_does_not_stop_the_other_inputs(run, folder, tmp_path, monkeypatch):
    (tmp_path / "secret").mkdir()
    (tmp_path / "empty").mkdir()
    original_scandir = os.scandir

    def scandir(path):  # raises here, because permissions have no effect on root
        if Path(path).name == "secret":
            raise PermissionError(13, "Permission denied", str(path))
        return original_scandir(path)

    monkeypatch.setattr(os, "scandir", scandir)
    arguments = [tmp_path / "secret", tmp_path / "empty", folder / "b.png"]
    status, out, err = run("predict", *arguments)
    assert (status, out) == (1, f"{folder / 'b.png'}: no face found\n")
    assert err.splitlines() == [
        f"error: {arguments[0]}: cannot be read: Permission denied",
        f"error: {arguments[1]}: holds no images; name another folder",
    ]


def test_name_of_300_letters_is_one_line(run, folder):
    long = "x" * 300 + ".jpg"
    status, out, err = run("predict", long, folder / "b.png")
    assert (status, out) == (1, f"{folder / 'b.png'}: no face found\n")
    assert err == f"error: {long}: cannot be read: File name too long\n"
    for arguments in (("--video", long), (PHOTO, "--model", long), (PHOTO, "--draw", long)):
        status, _, err = run("predict", *arguments)
        assert (status, err.count("\n")) == (1, 1)
        assert err.startswith(f"error: {long}: ")


def test_names_without_suffix_are_drawn_as_png(run, tmp_path):
    for name in ("one", "two.jpg", "old.dat"):
        shutil.copy(PHOTO, tmp_path / name)
    status, _, err = run(
        *("predict", tmp_path / "one", tmp_path / "two.jpg", tmp_path / "old.dat"),
        *("--draw", tmp_path / "drawn"),
    )
    assert (status, err) == (0, "")
    drawn = {path.name: Image.open(path).format for path in (tmp_path / "drawn").iterdir()}
    assert drawn == {"one.png": "PNG", "two.jpg": "JPEG", "old.dat.png": "PNG"}
    status, _, err = run("predict", tmp_path / "one", "--draw", tmp_path / "drawn")
    assert (status, err) == (0, "")


def test_two_images_are_never_written_to_one_file(run, folder, tmp_path):
    same = tmp_path / "same.png"
    shutil.copy(PHOTO, folder / "a.jpg.png")
    shutil.copy(PHOTO, folder / "a.jpg.x")
    shutil.copy(PHOTO, folder / "a.jpg.x.png")
    for arguments in (
        (PHOTO, "--draw", same, "--explain", same),
        (folder / "a.jpg.x", folder / "a.jpg.x.png", "--draw", tmp_path / "d"),
    ):
        status, out, err = run("predict", *arguments)
        assert (status, out) == (1, "")
        assert "two images would be written there" in err
    assert not same.exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize("form", [(), ("--json",), ("--csv",)])
def test_full_disk(folder, form):
    with open("/dev/full", "w") as full:
        done = run_process(
            *("predict", folder / "b.png", *form),
            **{"capture_output": False, "stdout": full, "stderr": subprocess.PIPE},
        )
    assert done.returncode == 1
    assert done.stderr == "error: standard output: cannot be written: No space left on device\n"


def test_letters_that_the_terminal_cannot_show_are_escaped(folder, tmp_path):
    shutil.copy(folder / "b.png", tmp_path / "東.png")
    done = run_process(
        *("predict", tmp_path / "東.png"), env=os.environ | {"PYTHONIOENCODING": "latin-1"}
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{tmp_path}/\\u6771.png: no face found\n"


def test_writes_nothing_outside_the_working_folder(folder, tmp_path):
    """ONNX Runtime's telemetry would leave a device id in the user's cache."""
    variables = ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "TMPDIR")
    home = tmp_path / "home"
    home.mkdir()
    done = run_process(
        *("predict", folder / "a.jpg", "--draw", folder / "drawn.png"),
        env=os.environ | dict.fromkeys(variables, str(home)),
        cwd=folder,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert (folder / "drawn.png").exists()
    assert list(home.rglob("*")) == []


def test_ctrl_c_while_reading_images_exits_with_130(run, folder, monkeypatch):
    def read(path, name=None):
        raise KeyboardInterrupt

    monkeypatch.setattr(reading, "read", read)
    assert run("predict", folder / "a.jpg") == (130, "", "")


def test_error_names_its_file_once(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.new("LAB", (40, 40)).save("a", "TIFF")  # its name is also a word of the error
    _, _, err = run("predict", "a", "b")
    assert err.splitlines() == [
        "error: a: the image has mode LAB; convert it to RGB or grey",
        "error: b: cannot be read: No such file or directory",
    ]


def test_small_faces_give_a_warning(run, tmp_path):
    Image.new("L", (23, 30)).save(tmp_path / "small.png")
    Image.new("L", (24, 30)).save(tmp_path / "large.png")
    status, out, err = run("predict", tmp_path / "large.png", tmp_path / "small.png", "--face")
    assert status == 0
    assert "at 0,3 to 23,26" in out  # the central square
    assert err == "warning: 1 faces are under 24 pixels; their emotions are guesses\n"


def test_drawing_scales_to_8_bits_and_fills_transparency_with_white(run, tmp_path):
    values = np.full((40, 40), 0.5)
    Image.fromarray(np.uint16(values * 65535)).save(tmp_path / "a.png")
    Image.fromarray(np.float32(values)).save(tmp_path / "b.tif")
    hidden = Image.new("RGBA", (40, 40), (255, 0, 0, 0))
    hidden.save(tmp_path / "c.png")
    status, _, err = run("predict", tmp_path, "--draw", tmp_path / "drawn")
    assert (status, err) == (0, "")
    drawn = {p.name: np.asarray(Image.open(p)) for p in (tmp_path / "drawn").iterdir()}
    assert np.abs(drawn["a.png"] - 127.0).max() <= 1
    assert np.abs(drawn["b.tif"] - 127.0).max() <= 1
    assert (drawn["c.png"] == 255).all()


def test_explanations_form_a_grid(run, tmp_path):
    for number in range(8):
        shutil.copy(PHOTO, tmp_path / f"{number}.jpg")
    run("predict", tmp_path, "--explain", tmp_path / "e.png")
    width, height = Image.open(tmp_path / "e.png").size
    assert 1 / 2 < width / height < 2


def test_drawn_folders_keep_their_structure(run, folder, tmp_path):
    (folder / "more").mkdir()
    shutil.copy(PHOTO, folder / "more" / "a.jpg")
    status, _, err = run(
        "predict", folder / "a.jpg", folder / "more/a.jpg", "--draw", tmp_path / "d"
    )
    assert (status, err) == (0, "")
    assert sorted(p.relative_to(tmp_path / "d") for p in (tmp_path / "d").rglob("*.jpg")) == [
        Path("a.jpg"),
        Path("more/a.jpg"),
    ]


def test_files_beside_the_inputs_are_never_overwritten(run, folder):
    """Cameras reuse file names: `folder/a.jpg` is another photo than `folder/more/a.jpg`."""
    (folder / "more").mkdir()
    shutil.copy(PHOTO, folder / "more" / "a.jpg")
    (folder / "a.jpg").write_bytes(b"another photo")
    status, out, err = run("predict", folder / "more", "--draw", folder)
    assert (status, out) == (1, "")
    assert err == f"error: {folder}/a.jpg: exists in a folder with inputs; name another place\n"
    assert (folder / "a.jpg").read_bytes() == b"another photo"
    (folder / "links").mkdir()
    (folder / "links" / "a.jpg").symlink_to(PHOTO)
    status, _, err = run("predict", folder / "links", "--draw", folder)
    assert (status, err.count("exists in a folder with inputs")) == (1, 1)
    for _ in range(2):  # a folder of drawings may be drawn again
        status, _, err = run("predict", folder / "more", "--draw", folder / "drawn")
        assert (status, err) == (0, "")


def test_inputs_are_never_overwritten(run, folder, tmp_path):
    photo = folder / "a.jpg"
    video_path = make_video(tmp_path / "in.mp4", frames=1)
    (folder / "link.jpg").symlink_to(photo)
    before = {path: path.read_bytes() for path in (photo, folder / "b.png", video_path)}
    for arguments in (
        (photo, "--draw", photo),
        (photo, "--draw", folder / "link.jpg"),
        (folder, "--draw", folder),
        (photo, "--explain", photo),
        ("--video", video_path, "--draw", video_path),
    ):
        status, out, err = run("predict", *arguments)
        assert (status, out) == (1, "")
        *notes, line = err.splitlines()
        assert "is an input, and is not overwritten" in line
        assert all(note.startswith("note: ") for note in notes)
    assert before == {path: path.read_bytes() for path in before}
    status, _, err = run("predict", photo, folder / "b.png", "--draw", tmp_path / "several.png")
    assert (status, err) == (
        1,
        f"error: {tmp_path}/several.png: is the name of a file; for several images, name a folder"
        "\n",
    )


def test_image_that_cannot_be_converted_does_not_stop_a_folder(run, tmp_path):
    Image.new("LAB", (40, 40)).save(tmp_path / "a.tif")
    Image.new("RGB", (40, 40)).save(tmp_path / "b.png")
    status, out, err = run("predict", tmp_path)
    assert (status, out) == (1, f"{tmp_path / 'b.png'}: no face found\n")
    assert (
        err == f"error: {tmp_path / 'a.tif'}: the image has mode LAB; convert it to RGB or grey\n"
    )


def test_unwritable_target_is_one_line(run, tmp_path):
    (tmp_path / "file").touch()
    video_path = make_video(tmp_path / "in.mp4", frames=1)
    for arguments in (
        (PHOTO, "--draw", tmp_path / "file" / "d.png"),
        (PHOTO, "--explain", tmp_path / "file" / "d.png"),
        ("--video", video_path, "--draw", tmp_path / "file" / "d.mp4"),
    ):
        status, _, err = run("predict", *arguments)
        assert status == 1
        assert err.startswith(f"error: {arguments[-1]}: cannot be written: ")
        assert err.count("\n") == 1


def test_unwritable_drawing_does_not_stop_the_other_images(run, tmp_path):
    (tmp_path / "in").mkdir()
    Image.new("L", (70000, 9)).save(tmp_path / "in" / "a.png")  # wider than WebP and GIF allow
    Image.new("L", (40, 40)).save(tmp_path / "in" / "b.png")
    for name in ("a.webp", "a.gif"):
        status, _, err = run("predict", tmp_path / "in" / "a.png", "--draw", tmp_path / name)
        assert (status, err.count("\n")) == (1, 1)
        assert err.startswith(f"error: {tmp_path / name}: cannot be written: ")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.png").mkdir()
    status, out, err = run("predict", tmp_path / "in", "--draw", tmp_path / "out")
    assert (status, err.count("\n"), out.count("no face found")) == (1, 1, 2)
    assert (tmp_path / "out" / "b.png").exists()


def test_nothing_to_explain_gives_a_warning(run, folder, tmp_path):
    status, _, err = run("predict", folder / "b.png", "--explain", tmp_path / "why.png")
    assert status == 0
    assert err == f"warning: no face found: {tmp_path / 'why.png'} is not written\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "takes images, --video or --webcam; give one of them"),
        (("photo.jpg", "--webcam"), "takes images, --video or --webcam; give one of them"),
        (("photo.jpg",), "photo.jpg: cannot be read: No such file"),
        (("--video", "in.mp4"), "in.mp4: no such file"),
        (("--video", "broken.mp4"), "broken.mp4: is not a video"),
        (
            ("--video", "in.mp4", "--explain", "e.png"),
            "--explain: works for images only; give images",
        ),
        (("empty",), "empty: holds no images; name another folder"),
        (("photo.jpg", "--draw", "out.txt"), "out.txt: is no name for an image; use one of"),
        (("photo.jpg", "--model", "m.onnx"), "m.onnx: no model here"),
    ],
)
def test_mistakes_are_one_line(run, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    status, out, err = run("predict", *arguments)
    assert status == 1
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("error: ")
    assert message in err
