"""The files of a data set as the user has them, unpacked or in archives. They are only read."""

import bz2
import contextlib
import gzip
import io
import itertools
import lzma
import os
import struct
import tarfile
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, BinaryIO

from fer.errors import FerError
from fer.predict import images

PICTURES = images.SUFFIXES | {".jfif", ".pgm", ".ppm"}
"""Suffixes of pictures."""

_HEAD = 4096
"""Bytes by which a file's format is recognized."""

_LONGEST = 1 << 16
"""Bytes of a line; the longest row of a face has some 9,250."""

_MOST = 4 << 30
"""Bytes of a file without its packing; FER2013 has 0.3 billion."""

_CLUTTER = {"__macosx", "thumbs.db", "desktop.ini"}
"""Files of operating systems, in lower case; so are those whose names start with a dot."""

_PACKERS = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open}
"""How the files of a packer begin, and what opens them."""

_ARCHIVE_SUFFIXES = (".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz")

_BROKEN = (
    EOFError,
    KeyError,  # of a hard link to nothing
    RuntimeError,  # of an encrypted zip, or one packed in an unknown way
    ValueError,  # of names that do not decode
    struct.error,
    zlib.error,
    lzma.LZMAError,
    tarfile.TarError,
    zipfile.BadZipFile,
)


@dataclass(frozen=True)
class _File:
    """A file of the data set.

    Attributes:
        path: The file on disk.
        kind: "plain", "packed" (a single file), "zip" or "tar".
        member: Its name in the archive; empty where it is none.
        head: Its first bytes, unpacked; empty for a picture.
        entry: What tarfile knows of it, where it is no picture of a tar.
    """

    path: Path
    kind: str
    member: str = ""
    head: bytes = b""
    entry: tarfile.TarInfo | None = None


class RawFolder:
    """The files in a folder and in the archives there, by their names.

    A name is a path relative to the folder, with "/". In an archive it begins with that of the
    archive: "faces.zip/happy/1.png". Links in the folder are followed, those in archives are not.
    Clutter of operating systems is left out.

    Attributes:
        path: The folder.
        names: The names of all files, sorted.
        pictures: Those of the pictures.
        archives: The names of the archives.

    Raises:
        FerError: Where a file or an archive cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self._files: dict[str, _File] = {}
        for name in list_files(self.path):
            if name != "README.md":
                self._files |= _list_one(self.path / name, name)
        self.names = sorted(self._files)
        self.archives = {
            file.path.relative_to(self.path).as_posix()
            for file in self._files.values()
            if file.member
        }
        self.pictures = [name for name in self.names if is_picture(name)]

    def others(self) -> dict[str, bytes]:
        """The first 4096 bytes of each file that is no picture, by name."""
        return {name: file.head for name, file in self._files.items() if not is_picture(name)}

    def is_packed(self, name: str) -> bool:
        """Whether a file lies in an archive or is packed."""
        return self._files[name].kind != "plain"

    def size(self, name: str) -> int | None:
        """Bytes of a file; None where it is packed."""
        return None if self.is_packed(name) else self._files[name].path.stat().st_size

    def lines(self, name: str) -> Iterator[bytes]:
        """The lines of a text file, with their ends.

        Raises:
            FerError: Where the file cannot be read, or has more than 4 GiB, or a line of 64 KiB.
        """
        shown = self.path / name
        with _reading(shown), self._open(self._files[name]) as file:
            number = unpacked = 0
            while line := file.readline(_LONGEST):
                number, unpacked = number + 1, unpacked + len(line)
                if len(line) == _LONGEST:
                    raise FerError(f"{shown}: line {number}: has {_LONGEST} bytes or more")
                _limit(shown, unpacked)
                yield line

    def contents(self, names: Iterable[str]) -> Iterator[tuple[str, Path | bytes | FerError]]:
        """Each of the files `names`: its path, or its content where it lies in an archive.

        Archive by archive, each read once, from its beginning to its end. A damaged file of a zip
        is given as the error.
        """
        archives: dict[tuple[Path, str], dict[str, str]] = defaultdict(dict)
        for name in names:
            file = self._files[name]
            if file.member:
                archives[file.path, file.kind][file.member] = name
            else:
                yield name, file.path
        for (path, kind), wanted in archives.items():
            with _reading(path):
                for member, content in _READERS[kind](path, wanted):
                    yield wanted[member], content

    @contextlib.contextmanager
    def _open(self, file: _File) -> Iterator[BinaryIO]:
        with contextlib.ExitStack() as stack:
            if file.kind == "zip":
                archive = stack.enter_context(zipfile.ZipFile(file.path))
                member = archive.getinfo(file.member)
                yield stack.enter_context(io.BufferedReader(archive.open(member), 1 << 20))
            elif file.kind == "tar":
                archive = stack.enter_context(tarfile.open(file.path))
                yield stack.enter_context(archive.extractfile(file.entry))
            elif file.kind == "packed":
                yield stack.enter_context(_unpacker(_first_bytes(file.path))(file.path))
            else:
                yield stack.enter_context(file.path.open("rb", buffering=1 << 20))


def is_picture(name: str) -> bool:
    """Whether a file is a picture, by its suffix."""
    return PurePosixPath(name).suffix.lower() in PICTURES


def list_files(folder: Path) -> list[str]:
    """Names of the files in `folder` and below, relative to it, sorted; links are followed."""
    found = []
    for where, folders, names in os.walk(folder, onerror=_refuse_folder, followlinks=True):
        folders[:] = [name for name in folders if not _is_loop(folder, where, name)]
        below = Path(where).relative_to(folder).as_posix()
        prefix = "" if below == "." else f"{below}/"
        found += [prefix + name for name in names if os.path.isfile(os.path.join(where, name))]
    for name in found:
        if not _is_text(name):
            raise FerError(f"{folder}: the name of the file {name!a} is not in UTF-8; rename it")
    return sorted(name for name in found if _is_visible(name))


def link(source: Path, folder: Path) -> None:
    """Make the files in `source`, and below, stand in `folder` too, as links to them.

    Files that are in `folder` stay as they are. Where the two are the same folder, nothing is done.

    Raises:
        FerError: Where the links cannot be made.
    """
    for name in list_files(source):
        target = Path(folder, name)
        if os.path.lexists(target):
            continue
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(Path(source, name).resolve())
        except OSError as error:
            raise FerError(f"{target}: cannot be linked: {error.strerror}") from error


def _refuse_folder(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):  # as of the data set's folder itself
        raise FerError(f"{error.filename}: cannot be read: {error.strerror}") from error


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_loop(top: Path, where: str, name: str) -> bool:
    """Whether a folder in `where` is a link to it, or to a folder above it or on the way to it."""
    path = os.path.join(where, name)
    if not os.path.islink(path):
        return False
    real, passed = os.path.realpath(path), Path(where)
    way = [passed, *itertools.takewhile(lambda folder: folder != Path(top), passed.parents), top]
    return Path(os.path.realpath(where)).is_relative_to(real) or any(
        os.path.realpath(folder) == real for folder in way
    )


def _is_visible(name: str) -> bool:
    """Not what a system or a killed run left behind, such as ._x or .writing-1/x."""
    parts = PurePosixPath(name).parts
    return not any(part.startswith(".") or part.lower() in _CLUTTER for part in parts)


def _list_one(path: Path, name: str) -> dict[str, _File]:
    """A file of the folder, or the files inside where it is an archive."""
    if is_picture(name):
        return {name: _File(path, "plain")}
    with _reading(path):
        first = _first_bytes(path)
        if first.startswith((b"PK\3\4", b"PK\5\6")):
            found = _list_zip(path)
        elif _is_tar(path, first):
            found = _list_tar(path)
        elif opener := _unpacker(first):
            with opener(path) as file:
                return {name: _File(path, "packed", head=file.read(_HEAD))}
        elif name.lower().endswith(_ARCHIVE_SUFFIXES):
            raise FerError(f"{path}: cannot be read: is no archive; download it anew")
        else:
            return {name: _File(path, "plain", head=first)}
    return {f"{name}/{member}": file for member, file in found.items() if _is_visible(member)}


def _list_zip(path: Path) -> dict[str, _File]:
    found = {}
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            if member.is_dir() or not _is_visible(member.filename):
                continue
            _limit(path, member.file_size)
            _refuse_again(path, member.filename, found)
            head = b""
            if not is_picture(member.filename):
                with archive.open(member) as file:
                    head = file.read(_HEAD)
            found[member.filename] = _File(path, "zip", member.filename, head)
    return found


def _list_tar(path: Path) -> dict[str, _File]:
    found, end = {}, 0
    with tarfile.open(path) as archive:
        for member in archive:
            _limit(path, member.size)  # before what is large is read, to find the next
            end = member.offset_data + member.size * member.isreg()
            if not _is_file(member):
                continue
            name = member.name.removeprefix("./")
            _refuse_again(path, name, found)
            file = _File(path, "tar", member.name)
            if not is_picture(member.name):
                head = _extract(archive, member).read(_HEAD)
                file = _File(path, "tar", member.name, head, member)
            found[name] = file
        while archive.fileobj.read(1 << 20):  # to the checksum at the end
            pass
        if archive.fileobj.tell() < end + tarfile.BLOCKSIZE:
            raise tarfile.ReadError("unexpected end of data")
    return found


def _extract(archive: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    """The content of a file; raises ReadError for a hard link to what is none."""
    file = archive.extractfile(member)
    if file is None:
        raise tarfile.ReadError(f"{member.name!a} is a link to no file")
    return file


def _refuse_again(path: Path, name: str, found: dict[str, _File]) -> None:
    if not _is_text(name):
        raise FerError(f"{path}: the name of the file {name!a} is not in UTF-8; rename it")
    if name in found:
        raise FerError(f"{path}: holds two files called {name!a}; pack it anew without one")


def _is_file(member: tarfile.TarInfo) -> bool:
    """Whether it is a file or a hard link to one before it."""
    return member.isfile() or member.islnk()


def _read_zip(path: Path, wanted: Iterable[str]) -> Iterator[tuple[str, bytes | FerError]]:
    with zipfile.ZipFile(path) as archive:
        for member in wanted:
            try:
                yield member, archive.read(member)
            except (*_BROKEN, OSError) as error:
                yield member, FerError(f"{path}/{member}: cannot be read: {error}")


def _read_tar(path: Path, wanted: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(path) as archive:
        for member in archive:
            if _is_file(member) and member.name in wanted:
                yield member.name, _extract(archive, member).read()


_READERS = {"zip": _read_zip, "tar": _read_tar}
"""What gives the content of some members of an archive, in its own order."""


def _first_bytes(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_HEAD)


def _unpacker(first: bytes) -> Any:
    """The function that opens a packed file that begins with `first`; None for another."""
    return next((opener for mark, opener in _PACKERS.items() if first.startswith(mark)), None)


def _is_tar(path: Path, first: bytes) -> bool:
    if opener := _unpacker(first):
        with opener(path) as file:
            first = file.read(512)
    return first[257:262] == b"ustar"


def _limit(path: Path, unpacked: int) -> None:
    if unpacked > _MOST:
        raise FerError(f"{path}: is more than {_MOST >> 30} GiB unpacked; FER2013 is 0.3")


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    """One line for what goes wrong when a file is read."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or f"{error}; download it anew"
        raise FerError(f"{path}: cannot be read: {reason}") from error
    except _BROKEN as error:
        reason = str(error).partition("\n")[0].rstrip(":")
        raise FerError(f"{path}: cannot be read: {reason}; download it anew") from error
