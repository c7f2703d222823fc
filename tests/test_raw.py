"""The files of a data set: recognized by content, in folders and archives, and only read."""

import bz2
import gzip
import io
import lzma
import os
import tarfile
import zipfile
from contextlib import suppress
from pathlib import Path

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
    """A tar of files: bytes, or a TarInfo of a link and the like."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as archive:
        for name, content in files.items():
            member = content if isinstance(content, tarfile.TarInfo) else tarfile.TarInfo(name)
            if isinstance(content, bytes):
                member.size = len(content)
            archive.addfile(member, io.BytesIO(content) if isinstance(content, bytes) else None)
    return stream.getvalue()


def link(name, target, kind=tarfile.SYMTYPE):
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


def contents(folder):
    with raw.open_raw(folder) as opened:
        return {name: opened.file(name).read_bytes() for name in opened.names}


def refusal(folder):
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(FerError) as error:
        contents(folder)
    assert str(error.value).isprintable()
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    return str(error.value)


def test_files_of_a_folder_and_of_linked_folders(tmp_path):
    assert contents(fill(tmp_path / "own")) == FILES
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw/linked").symlink_to(tmp_path / "own")
    (tmp_path / "own/loop").symlink_to(tmp_path / "raw/linked")  # is not followed
    assert contents(tmp_path / "raw") == {f"linked/{name}": own for name, own in FILES.items()}


@pytest.mark.parametrize("name", ["faces.zip", "faces", "faces.csv", "FACES.TAR.GZ"])
@pytest.mark.parametrize(
    "content",
    [zipped(), tarred(), tarred(mode="w"), tarred(mode="w:bz2"), tarred(mode="w:xz")],
    ids=["zip", "tar.gz", "tar", "tar.bz2", "tar.xz"],
)
def test_archives_are_recognized_by_their_content(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    assert contents(tmp_path) == {f"{name}/{member}": own for member, own in FILES.items()}
    assert contents(tmp_path / name) == contents(tmp_path)
    with raw.open_raw(tmp_path) as opened:
        assert list(opened.lines(f"{name}/notes.txt")) == ["some words\n", "more"]
        assert opened.heads == {f"{name}/notes.txt": FILES["notes.txt"]}
        unpacked = opened.file(f"{name}/notes.txt")
    assert not unpacked.exists()
    assert list(tmp_path.iterdir()) == [tmp_path / name]


def test_backslashes_in_a_zip_are_folders(tmp_path):
    names = {name.replace("/", "\\"): content for name, content in FILES.items()}
    (tmp_path / "f.zip").write_bytes(zipped(names | {"..\\..\\1.png": b"x"}))
    assert contents(tmp_path) == {f"f.zip/{name}": content for name, content in FILES.items()}


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_compressed_file(tmp_path, pack):
    (tmp_path / "any name").write_bytes(pack(b"first\nsecond\n"))
    with raw.open_raw(tmp_path) as opened:
        assert list(opened.lines("any name")) == ["first\n", "second\n"]


def test_hidden_files_links_and_paths_that_lead_outside_are_left_out(tmp_path):
    clutter = {
        "._1.png": b"x",
        "a/Thumbs.db": b"x",
        ".writing-x/1.png": b"x",
        "README.md": b"of the folder",
    }
    folder = fill(tmp_path / "set", FILES | clutter)
    outside = {"__MACOSX/._1.png": b"x", "c/../1.png": b"x", "../2.png": b"x", ".DS_Store": b"x"}
    (folder / "f.zip").write_bytes(zipped(outside))
    links = {"l": link("l", "/etc/passwd"), "d": link("d", "/tmp"), "p": link("p", "")}
    links["p"].type = tarfile.FIFOTYPE
    (folder / "f.tar").write_bytes(tarred(outside | links, mode="w"))
    assert contents(folder) == FILES
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_hard_links_in_a_tar_are_files(tmp_path):
    files = FILES | {"c": link("./c.png", "a/1.png", tarfile.LNKTYPE)}
    (tmp_path / "f").write_bytes(tarred(files))
    assert contents(tmp_path)["f/c.png"] == FILES["a/1.png"]


def test_hard_link_in_a_tar_to_a_link_out_of_it_is_left_out(tmp_path):
    (tmp_path / "secret.png").write_bytes(b"secret")
    links = {".s": link(".s", str(tmp_path / "secret.png"))}
    links["b.png"] = link("b.png", ".s", tarfile.LNKTYPE)
    (tmp_path / "f.tar").write_bytes(tarred(links, mode="w"))
    with suppress(FerError):  # which newer versions of Python raise
        assert "f.tar/b.png" not in contents(tmp_path)


def test_damaged_picture_in_a_zip_leaves_the_others(tmp_path):
    content = zipped({"a/1.png": bytes(range(256)), "a/2.png": b"another"})
    place = content.index(bytes(range(100)))
    (tmp_path / "f.zip").write_bytes(content[:place] + b"x" + content[place + 1 :])
    assert contents(tmp_path) == {"f.zip/a/1.png": b"", "f.zip/a/2.png": b"another"}


@pytest.mark.parametrize("name", ["faces.zip", "faces.tar.gz", "faces.csv.gz", "faces.tar"])
def test_file_that_is_not_the_archive_its_name_says(tmp_path, name):
    (tmp_path / name).write_bytes(b"<!DOCTYPE html>\n")
    assert f"{name}: cannot be read: is no archive; download it again" in refusal(tmp_path)


def flipped(content, place):
    spoiled = bytearray(content)
    spoiled[place] ^= 1
    return bytes(spoiled)


def encrypted(content):
    return content.replace(b"PK\3\4\x14\0\0\0", b"PK\3\4\x14\0\1\0").replace(
        b"PK\1\2\x14\3\x14\0\0\0", b"PK\1\2\x14\3\x14\0\1\0"
    )


LINK_TO_NOTHING = {"c": link("c.png", "nothing", tarfile.LNKTYPE)}


@pytest.mark.parametrize(
    "content",
    [
        *(whole[: int(len(whole) * part)] for whole in (zipped(), tarred()) for part in (0.3, 0.9)),
        tarred(mode="w")[:800],
        flipped(tarred(), -6),  # the checksum at the end
        gzip.compress(b"some words")[:-9],
        encrypted(zipped()),
        tarred(LINK_TO_NOTHING),
    ],
    ids=[
        *("third of a zip", "most of a zip", "third of a tar.gz", "most of a tar.gz", "tar, cut"),
        *("checksum of a tar.gz", "half a gz", "encrypted", "link to nothing"),
    ],
)
def test_broken_archive_is_one_error(tmp_path, content):
    (tmp_path / "faces").write_bytes(content)
    assert refusal(tmp_path).startswith(f"{tmp_path}/faces: cannot be read: ")


def sparse():
    """A tar of some 200 bytes that claims to hold 200 GB."""
    member = tarfile.TarInfo("fer2013.csv")
    names = ("major", "minor", "size", "numblocks", "map", "name")
    values = ("0", "1", "200000000000", "1", "0,0", "fer2013.csv")
    member.pax_headers = {f"GNU.sparse.{n}": v for n, v in zip(names, values, strict=True)}
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(member)
    return stream.getvalue()


LARGE = b"7" * (3 << 20)


@pytest.mark.parametrize(
    "content",
    [
        sparse(),
        zipped({"a": LARGE}),
        zipped({"a": LARGE[: 2 << 20], "b": LARGE[: 1 << 20]}),
        tarred({"a": LARGE}),
        gzip.compress(LARGE),
        zipped({f"{number}.png": b"" for number in range(21)}),
    ],
    ids=["sparse tar", "zip", "zip of two", "tar.gz", "gz", "21 files"],
)
def test_archive_that_is_too_large_unpacked(tmp_path, monkeypatch, content):
    monkeypatch.setattr(raw, "_MAX_UNPACKED_BYTES", (3 << 20) - 1)
    monkeypatch.setattr(raw, "_MAX_UNPACKED_FILES", 20)
    (tmp_path / "set").mkdir()
    (tmp_path / "set/faces").write_bytes(content)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert "files unpacked; unpack it yourself" in refusal(tmp_path / "set")
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_file_in_another_encoding(tmp_path):
    (tmp_path / "faces.csv").write_bytes("a\nü\n".encode("latin-1"))
    with (
        raw.open_raw(tmp_path) as opened,
        pytest.raises(FerError, match=r"faces\.csv: line 2: is not text in UTF-8"),
    ):
        list(opened.lines("faces.csv"))


def test_file_name_that_is_not_utf8(tmp_path):
    Path(os.fsdecode(bytes(tmp_path) + b"/\xff.png")).write_bytes(b"x")
    assert "is not in UTF-8; rename the file" in refusal(tmp_path)


# -- links to the user's files ---------------------------------------------------------------------


def test_entries_are_linked_and_the_files_stay(tmp_path):
    source = fill(tmp_path / "source")
    folder = fill(tmp_path / "run", {"README.md": b""})
    for origin in (source, source, folder, tmp_path / "none"):
        raw.link_entries(origin, folder)
    assert contents(folder) == contents(source) == FILES
    assert (folder / "a").is_symlink()


def test_folder_is_linked_and_a_link_to_a_moved_one_is_replaced(tmp_path):
    source, target = fill(tmp_path / "source"), tmp_path / "raw/mine"
    for _ in range(2):
        assert raw.link(source, target) == target
    assert not raw.link(fill(tmp_path / "other", {}), target)
    (tmp_path / "faces.zip").write_bytes(b"")
    assert not raw.link(tmp_path / "faces.zip", target)
    assert contents(target) == contents(source) == FILES
    assert raw.link(source.rename(tmp_path / "moved"), target)
    assert contents(target) == FILES


def test_file_is_linked_into_a_folder_with_nothing_else(tmp_path):
    (tmp_path / "faces.zip").write_bytes(zipped())
    folder = fill(tmp_path / "raw/faces", {"README.md": b""})
    for _ in range(2):
        assert raw.link(tmp_path / "faces.zip", folder) == folder / "faces.zip"
    assert contents(folder) == {f"faces.zip/{name}": own for name, own in FILES.items()}
    (tmp_path / "moved").mkdir()
    (tmp_path / "faces.zip").rename(tmp_path / "moved/faces.zip")
    assert raw.link(tmp_path / "moved/faces.zip", folder)
    assert len(contents(folder)) == len(FILES)
    (tmp_path / "faces.csv").touch()
    assert not raw.link(tmp_path / "faces.csv", folder)


def test_link_that_cannot_be_made_is_a_clear_error(tmp_path):
    source = fill(tmp_path / "source")
    (tmp_path / "file").write_text("")
    with pytest.raises(FerError, match="cannot be linked: Not a directory"):
        raw.link_entries(source, tmp_path / "file" / "folder")
