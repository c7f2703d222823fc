"""The files of a data set: found by content, in folders and archives, and only read."""

import bz2
import gzip
import io
import lzma
import os
import tarfile
import zipfile

import pytest

from fer.core.errors import FerError
from fer.data import raw

FILES = {"a/1.png": b"picture", "notes.txt": b"some words\nmore", "b/2.png": b"another"}


def fill(folder, files=FILES):
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def zipped(files=FILES):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()


def tarred(files=FILES, mode="w:gz"):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def contents(folder):
    opened = raw.RawFolder(folder)
    actual = dict(opened.contents(opened.names))
    return {n: c if isinstance(c, bytes) else c.read_bytes() for n, c in actual.items()}


def test_files_of_a_folder(tmp_path):
    assert contents(fill(tmp_path)) == FILES


@pytest.mark.parametrize("name", ["faces.zip", "faces", "faces.csv", "FACES.TAR.GZ"])
@pytest.mark.parametrize(
    "content",
    [zipped(), tarred(), tarred(mode="w"), tarred(mode="w:bz2"), tarred(mode="w:xz")],
    ids=["zip", "tar.gz", "tar", "tar.bz2", "tar.xz"],
)
def test_archives_are_known_by_their_content(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    assert contents(tmp_path) == {f"{name}/{member}": own for member, own in FILES.items()}
    opened = raw.RawFolder(tmp_path)
    assert opened.archives == {name}
    assert list(opened.lines(f"{name}/notes.txt")) == [b"some words\n", b"more"]
    assert opened.others() == {f"{name}/notes.txt": FILES["notes.txt"]}


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_packed_file(tmp_path, pack):
    (tmp_path / "any name").write_bytes(pack(b"first\nsecond\n"))
    opened = raw.RawFolder(tmp_path)
    assert opened.others() == {"any name": b"first\nsecond\n"}
    assert list(opened.lines("any name")) == [b"first\n", b"second\n"]
    assert opened.size("any name") is None


def test_clutter_is_left_out(tmp_path):
    clutter = {
        "._1.png": b"x",
        ".DS_Store": b"x",
        "a/Thumbs.db": b"x",
        "desktop.ini": b"x",
        ".writing-x/1.png": b"x",
        "README.md": b"of the folder",
    }
    fill(tmp_path, FILES | clutter)
    (tmp_path / "f.zip").write_bytes(zipped({"__MACOSX/._1.png": b"x", "c/../1.png": b"x"}))
    assert contents(tmp_path) == FILES


@pytest.mark.parametrize("name", ["faces.zip", "faces.tar.gz", "faces.csv.gz", "faces.tar"])
def test_file_that_is_not_the_archive_its_name_says(tmp_path, name):
    (tmp_path / name).write_bytes(b"<!DOCTYPE html>\n")
    with pytest.raises(FerError, match=f"{name}: cannot be read: is no archive"):
        raw.RawFolder(tmp_path)


@pytest.mark.parametrize("content", [zipped(), tarred()], ids=["zip", "tar.gz"])
@pytest.mark.parametrize("cut", [0.3, 0.6, 0.95])
def test_broken_archive_is_one_error(tmp_path, content, cut):
    (tmp_path / "faces").write_bytes(content[: int(len(content) * cut)])
    with pytest.raises(FerError, match="faces: cannot be read") as error:
        contents(tmp_path)
    assert "\n" not in str(error.value)


def test_checksum_of_a_tar_is_read(tmp_path):
    content = bytearray(tarred())
    content[-6] ^= 1
    (tmp_path / "faces").write_bytes(content)
    with pytest.raises(FerError, match="cannot be read: CRC"):
        raw.RawFolder(tmp_path)


def test_links_are_read_and_the_files_stay(tmp_path):
    source = fill(tmp_path / "source")
    folder = fill(tmp_path / "run", {"README.md": b""})
    raw.link(source, folder)
    raw.link(source, folder)
    assert contents(folder) == FILES
    assert not (folder / "README.md").is_symlink()
    (folder / "a/1.png").unlink()
    assert contents(source) == FILES


def test_folder_is_not_linked_to_itself(tmp_path):
    raw.link(fill(tmp_path), tmp_path)
    assert not any(path.is_symlink() for path in tmp_path.rglob("*"))


def test_reads_linked_folders(tmp_path):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw/linked").symlink_to(fill(tmp_path / "elsewhere"))
    assert contents(tmp_path / "raw") == {f"linked/{name}": own for name, own in FILES.items()}


@pytest.mark.parametrize("forbidden", [["symlink"], ["symlink", "link"]])
def test_files_are_linked_or_copied_where_links_are_forbidden(tmp_path, monkeypatch, forbidden):
    def refuse(*_, **__):
        raise OSError(1314, "A required privilege is not held by the client")

    source = fill(tmp_path / "source")
    for name in forbidden:
        monkeypatch.setattr(os, name, refuse)
    raw.link(source, tmp_path / "copy")
    names = raw.list_files(source)
    assert raw.list_files(tmp_path / "copy") == names
    for name in names:
        assert (tmp_path / "copy" / name).read_bytes() == (source / name).read_bytes()
        assert not (tmp_path / "copy" / name).is_symlink()


def test_link_that_cannot_be_made_is_a_clear_error(tmp_path):
    source = fill(tmp_path / "source")
    (tmp_path / "file").write_text("")
    with pytest.raises(FerError, match="cannot be linked: Not a directory"):
        raw.link(source, tmp_path / "file" / "folder")


def test_tar_cut_between_two_files(tmp_path):
    content = tarred(mode="w")
    (tmp_path / "faces").write_bytes(content[: 2 * 1024])  # a file each: header and content
    with pytest.raises(FerError, match="faces: cannot be read: unexpected end of data"):
        raw.RawFolder(tmp_path)
