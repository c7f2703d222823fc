"""Read the user's files of a data set, in folders and archives, without changing them."""

import bz2
import gzip
import lzma
import os
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path, PurePosixPath

from fer.core.errors import FerError
from fer.core.files import temporary_folder
from fer.images import reading

_HEAD_BYTES = 4096
"""Number of bytes by which a file's format is recognized."""

_MAX_UNPACKED_BYTES = 4 << 30
"""Largest size of an archive, unpacked; FER2013 has 0.3 GB."""

_MAX_UNPACKED_FILES = 1_000_000

_NOT_DATA = ("README.md", "corrections.csv")
"""Files at the top of a data set that hold no faces."""

_CLUTTER = {"__macosx", "thumbs.db", "desktop.ini"}
"""Files of operating systems in lower case; names that start with a dot are ignored too."""

_OPENERS = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open}
"""First bytes of compressed files, and the functions that open them."""

_ARCHIVE_SUFFIXES = (".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz")

_ARRAY_SUFFIX = ".npy"
"""Suffix of arrays of NumPy, of which AffectNet has a million; they are no archives."""


class RawFolder:
    """The files in a folder and in its archives, as one list of names.

    A name is a path relative to the folder, with "/". In an archive it starts with the name of the
    archive: "faces.zip/happy/1.png". Links in the folder are followed, links in archives are not
    read. Files of operating systems are ignored. Archives are unpacked into the empty folder
    `unpacked`. All methods raise a FerError if a file or an archive cannot be read.

    Attributes:
        path: The folder; that of a single file.
        empty_folders: The names of the folders that hold nothing.
    """

    def __init__(self, path: Path, unpacked: Path) -> None:
        self._is_file = path.is_file()
        self.path = path.parent if self._is_file else path
        self._paths: dict[str, Path] = {}
        names, self.empty_folders = ([path.name], []) if self._is_file else list_files(path)
        if self._is_file and (self.path / "classes.txt").is_file():  # names its numbers
            names.append("classes.txt")
        for number, name in enumerate(names):
            file, target = self.path / name, unpacked / str(number)
            if name in _NOT_DATA and not self._is_file:
                continue
            if not is_picture(name) and not name.endswith(_ARRAY_SUFFIX):
                with _as_fer_error(file):
                    _unpack(file, target)
            if target.is_dir():
                files, empty = list_files(target)
                self._paths |= {f"{name}/{own}": target / own for own in files}
                self.empty_folders += [f"{name}/{own}" for own in empty]
            else:
                self._paths[name] = target if target.exists() else file

    @property
    def names(self) -> list[str]:
        """The sorted names of all files."""
        return sorted(self._paths)

    @property
    def pictures(self) -> list[str]:
        """The sorted names of the pictures."""
        return [name for name in self.names if is_picture(name)]

    def add_pictures(self) -> None:
        """Add all pictures of the folder of a single file."""
        if self._is_file:
            names = filter(is_picture, list_files(self.path)[0])
            self._paths |= {name: self.path / name for name in names}

    @cached_property
    def heads(self) -> dict[str, bytes]:
        """The first 4096 bytes of each file that is no picture or array of NumPy, by name."""
        heads = {}
        for name, path in self._paths.items():
            if not is_picture(name) and not name.endswith(_ARRAY_SUFFIX):
                with _as_fer_error(self.path / name), path.open("rb") as file:
                    heads[name] = file.read(_HEAD_BYTES)
        return heads

    def file(self, name: str) -> Path:
        """Return the path of a file on disk, which is elsewhere if it was in an archive."""
        return self._paths[name]

    def lines(self, name: str) -> Iterator[str]:
        """Yield the lines of a text file in UTF-8, with line ends."""
        path = self.path / name
        with _as_fer_error(path), self._paths[name].open("rb", buffering=1 << 20) as file:
            # In pieces, because a file may have no line ends.
            for number, line in enumerate(iter(lambda: file.readline(1 << 16), b""), start=1):
                try:
                    yield line.decode("utf-8-sig" if number == 1 else "utf-8")
                except UnicodeDecodeError as error:
                    raise FerError(
                        f"{path}: line {number}: is not text in UTF-8; save the file as UTF-8"
                    ) from error


@contextmanager
def open_raw(path: Path) -> Iterator[RawFolder]:
    """Open a data set's folder or single file; its archives are in TMPDIR while it is open."""
    with temporary_folder() as unpacked:
        yield RawFolder(Path(path), unpacked)


def is_picture(name: str) -> bool:
    """Tell whether a file is a picture, by its suffix."""
    return PurePosixPath(name).suffix.lower() in reading.SUFFIXES


def list_files(folder: Path) -> tuple[list[str], list[str]]:
    """Return the sorted names of all files, and of the empty folders, in a folder and below.

    Names are relative to the folder. Links are followed, except links to a folder that contains
    them. A link to nothing is listed as a file, which cannot be read.
    """
    files, empty = [], []
    for parent, folders, names in os.walk(folder, onerror=_refuse_folder, followlinks=True):
        above = Path(parent).resolve()
        folders[:] = [
            name for name in folders if not above.is_relative_to((above / name).resolve())
        ]
        paths = [Path(parent, name) for name in names]
        found = [path for path in paths if path.is_file() or not path.exists()]
        files += [path.relative_to(folder).as_posix() for path in found]
        if not folders and not any(_is_visible(path.name) for path in found):
            empty.append(Path(parent).relative_to(folder).as_posix())
    for name in files:
        if name != name.encode(errors="replace").decode():
            raise FerError(f"{folder}: the file name {name!a} is not in UTF-8; rename the file")
    return sorted(filter(_is_visible, files)), sorted(filter(_is_visible, empty))


def link(source: Path, folder: Path) -> Path | None:
    """Return a link to a user's files: the data set's folder itself, or in it, to a single file.

    The link may replace one to what was moved. If something else is there, nothing is changed, and
    None is returned.
    """
    target = folder if source.is_dir() else folder / source.name
    if target.resolve() == source.resolve():
        return target
    if target.exists() or (target != folder and folder.is_symlink()):
        return None
    if folder.is_dir() and set(os.listdir(folder)) - {"README.md", target.name}:
        return None
    target.unlink(missing_ok=True)
    _link(source, target)
    return target


def link_entries(source: Path, folder: Path) -> None:
    """Link what is in one folder into another, except files that already exist there.

    Nothing is done if they are the same folder, or `source` is missing.
    """
    if not source.is_dir() or source.resolve() == folder.resolve():
        return
    for entry in source.iterdir():
        target = folder / entry.name
        if not os.path.lexists(target):
            _link(entry, target)
        elif entry.is_dir() and target.is_dir():
            link_entries(entry, target)


def _link(source: Path, target: Path) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(source.resolve(), target_is_directory=source.is_dir())
    except OSError as error:
        raise FerError(f"{target}: cannot be linked: {error.strerror or error}") from error


def _refuse_folder(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):  # a missing folder has an error of its own
        raise FerError(f"{error.filename}: cannot be read: {error.strerror}") from error


def _is_visible(name: str) -> bool:
    """Tell whether a file is neither hidden, nor of the system, nor outside of its archive."""
    parts = PurePosixPath(name).parts
    return not any(part.startswith(".") or part.lower() in _CLUTTER for part in parts)


def _unpack(path: Path, target: Path) -> None:
    """Unpack an archive into the folder `target`, a compressed file into the file `target`.

    Another file is left as it is. The kind of a file is recognized by its content.
    """
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                member.filename = member.filename.replace("\\", "/")  # of some Windows programs
            members = [m for m in archive.infolist() if _is_visible(m.filename)]
            _check_size(path, sum(member.file_size for member in members), len(members))
            target.mkdir()
            for member in members:
                try:
                    archive.extract(member, target)
                except (zipfile.BadZipFile, zlib.error):
                    if not is_picture(member.filename):
                        raise
                    # An empty file is reported as an unreadable picture.
                    (target / member.filename.lstrip("/")).write_bytes(b"")
    elif tarfile.is_tarfile(path):
        with tarfile.open(path) as archive:
            files = [m for m in archive if m.isfile() or m.islnk() or m.isdir()]
            members = [member for member in files if _is_visible(member.name)]
            _check_size(path, sum(member.size for member in members), len(members))
            target.mkdir()
            archive.extractall(target, members, filter="data")
            while archive.fileobj.read(1 << 20):  # up to the checksum at the end
                pass
        for file in target.rglob("*"):
            if file.is_symlink():  # which a hard link to a link may become
                file.unlink()
    else:
        with path.open("rb") as file:
            first = file.read(6)
        opener = next((o for mark, o in _OPENERS.items() if first.startswith(mark)), None)
        if opener:
            with opener(path) as stream, target.open("wb") as file:
                while chunk := stream.read(1 << 20):
                    file.write(chunk)
                    _check_size(path, file.tell())
        elif first.startswith(b"PK\3\4") or path.name.lower().endswith(_ARCHIVE_SUFFIXES):
            raise FerError(f"{path}: cannot be read: is no archive; download it again")


def _check_size(path: Path, size: int, files: int = 1) -> None:
    if size > _MAX_UNPACKED_BYTES or files > _MAX_UNPACKED_FILES:
        raise FerError(
            f"{path}: is more than {_MAX_UNPACKED_BYTES >> 30} GiB or {_MAX_UNPACKED_FILES:,} "
            "files unpacked; unpack it yourself, and move it out of the folder"
        )


@contextmanager
def _as_fer_error(path: Path) -> Iterator[None]:
    """Turn errors of reading or unpacking a file into a FerError of one line."""
    try:
        yield
    except FerError:
        raise
    except Exception as error:  # those of broken archives have no common class
        if isinstance(error, OSError) and error.strerror:
            raise FerError(f"{path}: cannot be read: {error.strerror}") from error
        reason = str(error).partition("\n")[0].rstrip(":")
        raise FerError(f"{path}: cannot be read: {reason}; download it again") from error
