import shutil

import pytest
from harness import SMALL, start
from test_pipeline import new_project


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """A small project, all of whose stages have run."""
    folder = new_project(tmp_path_factory.mktemp("made"), SMALL)
    said = start(folder, "dvc", "repro")
    assert said.wait() == 0, said.stderr.read()
    return folder


@pytest.fixture
def project(made, tmp_path):
    """A copy of it, to spoil."""
    return shutil.copytree(made, tmp_path / "project", symlinks=True)
