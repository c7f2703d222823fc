import shutil

import pytest
from harness import SMALL, start
from test_pipeline import new_project

collect_ignore = ["fuzz_csv.py"]  # --doctest-modules would import it, and with it atheris


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """A small project in which all stages have run."""
    folder = new_project(tmp_path_factory.mktemp("made"), SMALL)
    process = start(folder, "dvc", "repro")
    out, err = process.communicate()
    assert process.returncode == 0, out + err
    return folder


@pytest.fixture
def project(made, tmp_path):
    """A copy of the small project, which a test may damage."""
    return shutil.copytree(made, tmp_path / "project", symlinks=True)
