import errno
import os
import time

import pytest

from fer.core.errors import FerError
from fer.core.files import atomic_path, write_json


def test_file_appears_whole_or_not_at_all(tmp_path):
    path = tmp_path / "folder" / "file.txt"
    with atomic_path(path) as temporary:
        temporary.write_text("new")
        assert not path.exists()
    assert path.read_text() == "new"
    with pytest.raises(ValueError, match="stop"), atomic_path(path) as temporary:  # noqa: PT012
        temporary.write_text("half")
        raise ValueError("stop")
    assert path.read_text() == "new"
    assert os.listdir(path.parent) == ["file.txt"]


def test_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "folder").write_text("a file")
    with pytest.raises(FerError, match=r"folder/file\.json: cannot be written: "):
        write_json(tmp_path / "folder" / "file.json", {})


def test_full_disk_is_one_line(tmp_path):
    path = tmp_path / "file.txt"
    with (
        pytest.raises(FerError, match=r"file\.txt: cannot be written: No space left"),
        atomic_path(path),
    ):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert os.listdir(tmp_path) == []


def test_temporary_files_older_than_an_hour_are_removed(tmp_path):
    """They are of killed processes; a younger one may be of a process that writes at this time."""
    for name, minutes in ((".writing-0123abcd.json", 61), (".writing-young.json", 59), ("own", 61)):
        (tmp_path / name).touch()
        changed = time.time() - 60 * minutes
        os.utime(tmp_path / name, (changed, changed))
    write_json(tmp_path / "file.json", {})
    assert {*os.listdir(tmp_path)} == {".writing-young.json", "own", "file.json"}
