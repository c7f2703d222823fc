import csv
import json
import shutil
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_recognizer import PHOTO

from fer.errors import FerError
from fer.predict import cli, video


def fer(monkeypatch, capsys, *arguments):
    """Exit status, standard output, standard error."""
    monkeypatch.setattr(sys, "argv", ["fer", *map(str, arguments)])
    status = 0
    try:
        cli.main()
    except SystemExit as stop:
        status = stop.code
        if isinstance(status, str):  # as the interpreter does with a message
            print(status, file=sys.stderr)
            status = 1
    return status, *capsys.readouterr()


@pytest.fixture
def run(monkeypatch, capsys):
    return lambda *arguments: fer(monkeypatch, capsys, *arguments)


@pytest.fixture
def folder(tmp_path):
    """A photo, one without a face, and a broken one."""
    folder = tmp_path / "photos"
    folder.mkdir()
    shutil.copy(PHOTO, folder / "a.jpg")
    Image.new("RGB", (300, 200)).save(folder / "b.png")
    (folder / "c.jpg").write_bytes(b"no image")
    (folder / "notes.txt").write_text("no image either, and nobody says so")
    return folder


def test_says_the_emotion(run):
    status, out, err = run("predict", PHOTO)
    assert (status, err) == (0, "")
    assert out.startswith(f"{PHOTO}: Neutral ")


def test_no_face_is_no_error(run, folder):
    status, out, err = run("predict", folder / "b.png")
    assert (status, err) == (0, "")
    assert out == f"{folder / 'b.png'}: no face found\n"
    status, out, _ = run("predict", folder / "b.png", "--json")
    assert json.loads(out) == {"file": str(folder / "b.png"), "faces": []}


def test_json_and_csv_of_a_folder(run, folder):
    status, out, err = run("predict", folder, "--json")
    assert status == 1
    assert err == f"error: {folder / 'c.jpg'}: is not an image, or of a kind that cannot be read\n"
    first, second = map(json.loads, out.splitlines())
    assert first["file"] == str(folder / "a.jpg")
    assert second["faces"] == []
    (face,) = first["faces"]
    assert len(face["box"]) == 4

    status, out, _ = run("predict", folder, "--csv")
    assert status == 1
    row, none = csv.DictReader(out.splitlines())
    assert none == dict.fromkeys(row, "") | {"file": str(folder / "b.png")}
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


def test_says_its_version_and_help(run):
    status, out, _ = run("--version")
    assert (status, out) == (0, f"{version('fer-pipeline')}\n")
    status, out, _ = run()
    assert status == 0
    assert out.startswith("usage: fer")


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


def test_inputs_are_never_overwritten(run, folder, tmp_path):
    photo = folder / "a.jpg"
    made = make_video(tmp_path / "in.mp4", frames=1)
    (folder / "link.jpg").symlink_to(photo)
    before = {path: path.read_bytes() for path in (photo, folder / "b.png", made)}
    for arguments in (
        (photo, "--draw", photo),
        (photo, "--draw", folder / "link.jpg"),
        (folder, "--draw", folder),
        (photo, "--explain", photo),
        ("--video", made, "--draw", made),
    ):
        status, out, err = run("predict", *arguments)
        assert (status, out) == (1, "")
        assert "is an input, and is not overwritten" in err
        assert err.count("\n") == 1
    assert before == {path: path.read_bytes() for path in before}
    status, _, err = run("predict", photo, folder / "b.png", "--draw", tmp_path / "several.png")
    assert (status, err) == (
        1,
        f"error: {tmp_path}/several.png: of several images, --draw takes a folder\n",
    )


def test_image_that_cannot_be_made_grey_does_not_end_a_folder(run, tmp_path):
    Image.new("LAB", (40, 40)).save(tmp_path / "a.tif")
    Image.new("RGB", (40, 40)).save(tmp_path / "b.png")
    status, out, err = run("predict", tmp_path)
    assert (status, out) == (1, f"{tmp_path / 'b.png'}: no face found\n")
    assert err == f"error: {tmp_path / 'a.tif'}: an image of mode LAB cannot be made grey\n"


def test_place_that_cannot_be_written_to(run, tmp_path):
    (tmp_path / "file").touch()
    made = make_video(tmp_path / "in.mp4", frames=1)
    for arguments in (
        (PHOTO, "--draw", tmp_path / "file" / "d.png"),
        (PHOTO, "--explain", tmp_path / "file" / "d.png"),
        ("--video", made, "--draw", tmp_path / "file" / "d.mp4"),
    ):
        status, _, err = run("predict", *arguments)
        assert status == 1
        assert err.startswith(f"error: {arguments[-1]}: cannot be written: ")
        assert err.count("\n") == 1


def make_video(path, frames=6):
    image = Image.open(PHOTO).convert("RGB")
    with video.writer(path, 5.0) as file:
        for number in range(frames):
            frame = Image.new("RGB", image.size)
            frame.paste(image, (0, 10 * number))
            file.write(frame)
    return path


def test_video(run, tmp_path):
    made = make_video(tmp_path / "in.mp4")
    status, out, err = run("predict", "--video", made, "--json", "--draw", tmp_path / "out.mp4")
    assert (status, err) == (0, "")
    frames = [json.loads(line) for line in out.splitlines()]
    assert [frame["seconds"] for frame in frames] == [0, 0.2, 0.4, 0.6, 0.8, 1.0]
    tops = [frame["faces"][0]["box"][1] for frame in frames]
    assert tops == sorted(tops)
    assert tops[-1] - tops[0] == pytest.approx(50, abs=15)
    drawn = [frame for _, frame in video.Video(tmp_path / "out.mp4")]
    assert len(drawn) == 6
    assert drawn[0].size == Image.open(PHOTO).size


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "takes images, or --video, or --webcam"),
        (("photo.jpg", "--webcam"), "takes images, or --video, or --webcam"),
        (("photo.jpg",), "photo.jpg: cannot be read: No such file"),
        (("--video", "in.mp4"), "in.mp4: no such file"),
        (("--video", "broken.mp4"), "broken.mp4: is not a video"),
        (("--video", "in.mp4", "--explain", "e.png"), "--explain is for images"),
        (("empty",), "empty: no images in this folder"),
        (("photo.jpg", "--draw", "out.txt"), "out.txt: an image is written as one of"),
        (("photo.jpg", "--model", "m.onnx"), "m.onnx: no model here"),
    ],
)
def test_mistakes_are_one_line(run, tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    status, out, err = run("predict", *arguments)
    assert status == 1
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("error: ")
    assert said in err


@pytest.mark.skipif(Path("/dev/video0").exists(), reason="has a camera")
def test_missing_camera_is_a_clear_error(run):
    assert run("predict", "--webcam") == (1, "", "error: there is no camera\n")


def test_video_is_written_whole_or_not(tmp_path):
    with pytest.raises(FerError, match="has no frames"), video.writer(tmp_path / "v.mp4", 5.0):
        pass
    with pytest.raises(FerError, match=r"written as \.mp4"), video.writer(tmp_path / "v.mov", 5.0):
        pass
    assert list(tmp_path.iterdir()) == []
