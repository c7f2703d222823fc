"""Read the user's files of a data set, unpacked or in archives, without changing them."""

import bz2
import copy
import filecmp
import gzip
import io
import itertools
import lzma
import os
import shutil
import struct
import tarfile
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, BinaryIO

from fer.core.errors import FerError
from fer.core.files import atomic_path
from fer.images import reading

PICTURES = reading.SUFFIXES
"""Suffixes of pictures."""

_HEAD_BYTES = 4096
"""Number of bytes by which a file's format is recognized."""

_MAX_LINE_BYTES = 1 << 16
"""Largest size of a line; the longest row of a face has 9,250 bytes."""

_MAX_UNPACKED_BYTES = 4 << 30
"""Largest size of an unpacked file; FER2013 has 0.3 GB."""

_CLUTTER = {"__macosx", "thumbs.db", "desktop.ini"}
"""Files of operating systems in lower case; names that start with a dot are ignored too."""

_OPENERS = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open}
"""First bytes of compressed files, and the functions that open them."""

_ARCHIVE_SUFFIXES = (".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz")

_BROKEN_ARCHIVE_ERRORS = (
    EOFError,
    KeyError,  # a hard link to no file
    RuntimeError,  # an encrypted zip, or an unknown compression
    ValueError,  # names that cannot be decoded
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
        path: The file or archive on disk.
        kind: "plain", "packed" (a single compressed file), "zip" or "tar".
        member: Its name in the archive; empty outside archives.
        head: Its first bytes, unpacked; empty for a picture.
        entry: Its entry in a tar, except for pictures.
    """

    path: Path
    kind: str
    member: str = ""
    head: bytes = b""
    entry: tarfile.TarInfo | None = None


class RawFolder:
    """The files in a folder and in its archives, as one list of names.

    A name is a path relative to the folder, with "/". In an archive it starts with the name of the
    archive: "faces.zip/happy/1.png". Links in the folder are followed, links in archives are not.
    Files of operating systems are ignored.

    Args:
        path: The folder, or a single file.

    Attributes:
        path: The folder; that of a single file.
        names: Sorted names of all files.
        pictures: Sorted names of the pictures.
        archives: Names of the archives.

    Raises:
        FerError: If a file or an archive cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._is_file = os.path.isfile(path)
        self.path = Path(path).parent if self._is_file else Path(path)
        self._files: dict[str, _File] = {}
        names = [Path(path).name] if self._is_file else list_files(self.path)
        if self._is_file and (self.path / "classes.txt").is_file():  # names its numbers
            names.append("classes.txt")
        for name in names:
            if name != "README.md":
                self._files |= _list_file(self.path / name, name)
        self.names = sorted(self._files)
        self.archives = {
            file.path.relative_to(self.path).as_posix()
            for file in self._files.values()
            if file.member
        }
        self.pictures = [name for name in self.names if is_picture(name)]

    def with_pictures(self) -> "RawFolder":
        """Return the files and, where they are a single file, all pictures of its folder too."""
        if not self._is_file:
            return self
        raw = copy.copy(self)
        names = [name for name in list_files(self.path) if is_picture(name)]
        raw._files = self._files | {name: _File(self.path / name, "plain") for name in names}
        raw.names = sorted(raw._files)
        raw.pictures = [name for name in raw.names if is_picture(name)]
        return raw

    def others(self) -> dict[str, bytes]:
        """Return the first 4096 bytes of each file that is no picture, by name."""
        return {name: file.head for name, file in self._files.items() if not is_picture(name)}

    def is_packed(self, name: str) -> bool:
        """Tell whether a file is compressed or in an archive.

        Args:
            name: Name of the file.
        """
        return self._files[name].kind != "plain"

    def size(self, name: str) -> int | None:
        """Return the size of a file in bytes; None if it is packed.

        Args:
            name: Name of the file.
        """
        return None if self.is_packed(name) else self._files[name].path.stat().st_size

    def lines(self, name: str) -> Iterator[bytes]:
        """Yield the lines of a text file, with line ends.

        Args:
            name: Name of the file.

        Raises:
            FerError: If the file cannot be read, is larger than 4 GiB, or has a line of 64 KiB.
        """
        path = self.path / name
        with _as_fer_error(path), self._open(self._files[name]) as file:
            number = unpacked = 0
            while line := file.readline(_MAX_LINE_BYTES):
                number, unpacked = number + 1, unpacked + len(line)
                if len(line) == _MAX_LINE_BYTES:
                    raise FerError(
                        f"{path}: line {number}: has {_MAX_LINE_BYTES} bytes or more; is it a CSV?"
                    )
                _check_size(path, unpacked)
                yield line

    def contents(self, names: Iterable[str]) -> Iterator[tuple[str, Path | bytes | FerError]]:
        """Yield each file's name and path, or its content if it is in an archive.

        The order is that of the archives, each of which is read once. A damaged file in a zip
        yields the error.

        Args:
            names: Names of the files.

        Raises:
            FerError: If an archive cannot be read.
        """
        archives: dict[tuple[Path, str], dict[str, str]] = defaultdict(dict)
        for name in names:
            file = self._files[name]
            if file.member:
                archives[file.path, file.kind][file.member] = name
            else:
                yield name, file.path
        for (path, kind), members in archives.items():
            with _as_fer_error(path):
                for member, content in _READERS[kind](path, members):
                    yield members[member], content

    @contextmanager
    def _open(self, file: _File) -> Iterator[BinaryIO]:
        with ExitStack() as stack:
            if file.kind == "zip":
                archive = stack.enter_context(zipfile.ZipFile(file.path))
                member = archive.getinfo(file.member)
                yield stack.enter_context(io.BufferedReader(archive.open(member), 1 << 20))
            elif file.kind == "tar":
                archive = stack.enter_context(tarfile.open(file.path))
                yield stack.enter_context(archive.extractfile(file.entry))
            elif file.kind == "packed":
                yield stack.enter_context(_opener(_first_bytes(file.path))(file.path))
            else:
                yield stack.enter_context(file.path.open("rb", buffering=1 << 20))


def is_picture(name: str) -> bool:
    """Tell whether a file is a picture, by its suffix.

    Args:
        name: Name of the file.
    """
    return PurePosixPath(name).suffix.lower() in PICTURES


def list_files(folder: Path) -> list[str]:
    """Return the sorted names of all files in a folder and below, relative to it.

    Args:
        folder: The folder; links in it are followed.

    Raises:
        FerError: If a folder cannot be read, or a name is not in UTF-8.
    """
    files = []
    for parent, folders, names in os.walk(folder, onerror=_refuse_folder, followlinks=True):
        folders[:] = [name for name in folders if not _is_loop(folder, parent, name)]
        relative = Path(parent).relative_to(folder).as_posix()
        prefix = "" if relative == "." else f"{relative}/"
        files += [prefix + name for name in names if os.path.isfile(os.path.join(parent, name))]
    for name in files:
        if not _is_text(name):
            raise FerError(f"{folder}: the name of the file {name!a} is not in UTF-8; rename it")
    return sorted(name for name in files if _is_visible(name))


def link(source: Path, folder: Path) -> None:
    """Link the files of one folder, and below, into another; existing files stay as they are.

    The links are symbolic and absolute. Hidden files and files of operating systems are left out.

    Args:
        source: The folder with the files.
        folder: The folder for the links; maybe the same, and then nothing is done.

    Raises:
        FerError: If the links cannot be made.
    """
    for name in list_files(source):
        target = Path(folder, name)
        if os.path.lexists(target):
            continue
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            _link_or_copy(Path(source).resolve() / name, target)
        except OSError as error:
            raise FerError(f"{target}: cannot be linked: {error.strerror}") from error


def relink(source: Path, folder: Path) -> bool:
    """Link the files of one folder into another, in place of the links of an earlier call.

    The hidden file .source in `folder` names the folder that the links are of. A file README.md
    there stays as it is.

    Args:
        source: The folder with the files.
        folder: The folder for the links; maybe the same, and then nothing is done.

    Returns:
        False if `folder` holds files that no earlier call has made; then nothing is changed.

    Raises:
        FerError: If a folder cannot be read, or a link cannot be made or removed.
    """
    source, note = source.resolve(), folder / ".source"
    if folder.resolve() == source:
        return True
    paths = [path for path in _paths(folder) if path != folder / "README.md"]
    try:
        if paths:
            if not note.is_file():
                return False
            former = Path(note.read_text("utf-8"))
            if not all(_is_link_or_copy(p, former / p.relative_to(folder)) for p in paths):
                return False
        for path in paths:
            path.unlink()
        link(source, folder)
        folder.mkdir(parents=True, exist_ok=True)
        note.write_text(str(source), "utf-8")
    except OSError as error:
        raise FerError(f"{folder}: cannot be changed: {error.strerror}") from error
    return True


def _paths(folder: Path) -> Iterator[Path]:
    """Yield the visible files in a folder and below, and linked folders."""
    for parent, folders, names in os.walk(folder, onerror=_refuse_folder):
        linked = [name for name in folders if os.path.islink(os.path.join(parent, name))]
        yield from (Path(parent, name) for name in names + linked if _is_visible(name))


def _is_link_or_copy(path: Path, original: Path) -> bool:
    """Tell whether a file is what `_link_or_copy` makes of another one."""
    if path.is_symlink():
        return Path(os.readlink(path)) == original and not original.is_dir()
    try:
        return filecmp.cmp(path, original, shallow=False)
    except OSError:
        return False


def _link_or_copy(source: Path, target: Path) -> None:
    """Make a symbolic link; on Windows without the right to do so, a hard link or a copy."""
    with suppress(OSError):
        target.symlink_to(source)
        return
    with suppress(OSError):
        target.hardlink_to(source)
        return
    with atomic_path(target) as temporary:
        shutil.copyfile(source, temporary)


def _refuse_folder(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):  # a missing folder has an error of its own
        raise FerError(f"{error.filename}: cannot be read: {error.strerror}") from error


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_loop(top: Path, parent: str, name: str) -> bool:
    """Tell whether a folder in `parent` is a link to a folder that contains it."""
    path = os.path.join(parent, name)
    if not os.path.islink(path):
        return False
    target, folder = os.path.realpath(path), Path(parent)
    above = itertools.takewhile(lambda ancestor: ancestor != Path(top), folder.parents)
    return Path(os.path.realpath(parent)).is_relative_to(target) or any(
        os.path.realpath(ancestor) == target for ancestor in (folder, *above, top)
    )


def _is_visible(name: str) -> bool:
    """Tell whether a file is none of the system or of a killed run, such as ._x, .writing-1/x."""
    parts = PurePosixPath(name).parts
    return not any(part.startswith(".") or part.lower() in _CLUTTER for part in parts)


def _list_file(path: Path, name: str) -> dict[str, _File]:
    """Return a file of the folder by its name; for an archive, the files in it."""
    if is_picture(name):
        return {name: _File(path, "plain")}
    with _as_fer_error(path):
        first = _first_bytes(path)
        if first.startswith((b"PK\3\4", b"PK\5\6")):
            members = _list_zip(path)
        elif _is_tar(path, first):
            members = _list_tar(path)
        elif opener := _opener(first):
            with opener(path) as file:
                return {name: _File(path, "packed", head=file.read(_HEAD_BYTES))}
        elif name.lower().endswith(_ARCHIVE_SUFFIXES):
            raise FerError(f"{path}: cannot be read: is no archive; download it again")
        else:
            return {name: _File(path, "plain", head=first)}
    return {f"{name}/{member}": file for member, file in members.items() if _is_visible(member)}


def _list_zip(path: Path) -> dict[str, _File]:
    members = {}
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            if member.is_dir() or not _is_visible(member.filename):
                continue
            _check_size(path, member.file_size)
            _check_name(path, member.filename, members)
            head = b""
            if not is_picture(member.filename):
                with archive.open(member) as file:
                    head = file.read(_HEAD_BYTES)
            members[member.filename] = _File(path, "zip", member.filename, head)
    return members


def _list_tar(path: Path) -> dict[str, _File]:
    members, end = {}, 0
    with tarfile.open(path) as archive:
        for member in archive:
            _check_size(path, member.size)  # before tarfile reads over the member
            end = member.offset_data + member.size * member.isreg()
            if not _is_file(member):
                continue
            name = member.name.removeprefix("./")
            _check_name(path, name, members)
            file = _File(path, "tar", member.name)
            if not is_picture(member.name):
                head = _extract(archive, member).read(_HEAD_BYTES)
                file = _File(path, "tar", member.name, head, member)
            members[name] = file
        while archive.fileobj.read(1 << 20):  # up to the checksum at the end
            pass
        if archive.fileobj.tell() < end + tarfile.BLOCKSIZE:
            raise tarfile.ReadError("unexpected end of data")
    return members


def _extract(archive: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    """Open a member of a tar; raise ReadError for a link to no file."""
    file = archive.extractfile(member)
    if file is None:
        raise tarfile.ReadError(f"{member.name!a} is a link to no file")
    return file


def _check_name(path: Path, name: str, members: dict[str, _File]) -> None:
    if not _is_text(name):
        raise FerError(f"{path}: the name of the file {name!a} is not in UTF-8; rename it")
    if name in members:
        raise FerError(f"{path}: holds two files called {name!a}; pack it again without one")


def _is_file(member: tarfile.TarInfo) -> bool:
    """Tell whether a member is a file, or a hard link to an earlier one."""
    return member.isfile() or member.islnk()


def _read_zip(path: Path, members: Iterable[str]) -> Iterator[tuple[str, bytes | FerError]]:
    with zipfile.ZipFile(path) as archive:
        for member in members:
            try:
                yield member, archive.read(member)
            except (*_BROKEN_ARCHIVE_ERRORS, OSError) as error:
                yield member, FerError(f"{path}/{member}: cannot be read: {error}")


def _read_tar(path: Path, members: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(path) as archive:
        for member in archive:
            if _is_file(member) and member.name in members:
                yield member.name, _extract(archive, member).read()


_READERS = {"zip": _read_zip, "tar": _read_tar}
"""Functions that yield the content of some members of an archive, in the order of the archive."""


def _first_bytes(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_HEAD_BYTES)


def _opener(first: bytes) -> Any:
    """Return the function that opens a compressed file by its first bytes; None for other files."""
    return next((opener for mark, opener in _OPENERS.items() if first.startswith(mark)), None)


def _is_tar(path: Path, first: bytes) -> bool:
    if opener := _opener(first):
        with opener(path) as file:
            first = file.read(512)
    return first[257:262] == b"ustar"


def _check_size(path: Path, unpacked: int) -> None:
    if unpacked > _MAX_UNPACKED_BYTES:
        limit = _MAX_UNPACKED_BYTES >> 30
        raise FerError(f"{path}: is more than {limit} GiB unpacked; remove rows (FER2013 has 0.3)")


@contextmanager
def _as_fer_error(path: Path) -> Iterator[None]:
    """Turn errors of reading a file into a FerError of one line."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or f"{error}; download it again"
        raise FerError(f"{path}: cannot be read: {reason}") from error
    except _BROKEN_ARCHIVE_ERRORS as error:
        reason = str(error).partition("\n")[0].rstrip(":")
        raise FerError(f"{path}: cannot be read: {reason}; download it again") from error
