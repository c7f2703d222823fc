"""The wheel that `pip install .` makes: for predicting, with the model in it."""

import shutil
import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest
from layouts import ROOT
from test_pipeline import run
from test_recognizer import PHOTO


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The folder that the wheel was unpacked into."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("installed")
    shutil.copytree(ROOT / "fer", source / "fer", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    command = sys.executable, "-m", "pip", "wheel", "--no-deps", "-w", source / "wheels", source
    done = run(source, *command)
    assert done.returncode == 0, done.stderr
    (wheel,) = (source / "wheels").glob("*.whl")
    zipfile.ZipFile(wheel).extractall(target)
    return target


def test_predicts_with_its_own_model(installed, tmp_path):
    code = (
        "import sys; sys.modules['torch'] = None\n"  # which makes its import fail
        "from fer import Recognizer\n"
        "for model in ('nano', 'small', 'base', 'large'):\n"
        f"    (face,) = Recognizer(model).predict({str(PHOTO)!r})\n"
        "    print(Recognizer(model).path, face.emotion)"
    )
    done = run(tmp_path, sys.executable, "-c", code, PYTHONPATH=str(installed))
    assert done.returncode == 0, done.stderr
    for line in done.stdout.splitlines():
        path, emotion = line.split()
        assert Path(path).is_relative_to(installed)
        assert emotion == "Neutral"


@pytest.mark.parametrize("code", ["Recognizer('nano')", "detection.Detector()"])
def test_archive_of_the_code_says_what_is_missing(installed, tmp_path, code):
    archive = shutil.make_archive(str(tmp_path / "fer"), "zip", installed)
    code = f"from fer import Recognizer\nfrom fer.images import detection\n{code}"
    done = run(tmp_path, sys.executable, "-c", code, PYTHONPATH=archive)
    assert ".onnx: this file of the package fer-pipeline is missing; install" in done.stderr
    assert "use nano" not in done.stderr


@pytest.mark.slow
def test_program_of_pyinstaller_has_the_networks(installed, tmp_path):
    pytest.importorskip("PyInstaller")
    script = f"from fer import Recognizer\nprint(Recognizer().predict({str(PHOTO)!r})[0].emotion)"
    (tmp_path / "program.py").write_text(script)
    build = sys.executable, "-m", "PyInstaller", "program.py", "--log-level", "ERROR"
    done = run(tmp_path, *build, PYTHONPATH=str(installed))
    assert done.returncode == 0, done.stderr
    assert run(tmp_path, tmp_path / "dist/program/program").stdout == "Neutral\n"


def test_metadata(installed):
    (folder,) = installed.glob("*.dist-info")
    required = Parser().parsestr((folder / "METADATA").read_text()).get_all("Requires-Dist")
    unconditional = [line for line in required if "extra ==" not in line]
    assert unconditional
    assert not any(line.startswith(("torch", "dvc", "wandb", "optuna")) for line in unconditional)
    entry_points = (folder / "entry_points.txt").read_text()
    assert "fer = fer.cli:main" in entry_points
    assert "[pyinstaller40]\nhook-dirs = fer.pyinstaller:hook_dirs" in entry_points
    licence = (folder / "licenses/fer/images/yunet.LICENSE").read_text()
    assert "3-clause BSD License" in licence


def test_clone_that_converts_line_ends_has_the_same_files(tmp_path):
    """Git for Windows converts them by default, and DVC would take every stage for changed."""
    if not (ROOT / ".git").exists():
        pytest.skip("needs a git repository")
    clone = tmp_path / "clone"
    command = ["git", "clone", "-q", "-c", "core.autocrlf=true", str(ROOT), str(clone)]
    subprocess.run(command, check=True, timeout=60)
    for name in ("dvc.yaml", "params.yaml", "fer/core/faces.py", "plots/sample/nano/history.csv"):
        content = subprocess.run(
            ["git", "show", f"HEAD:{name}"], cwd=ROOT, check=True, capture_output=True
        ).stdout
        assert (clone / name).read_bytes() == content


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
@pytest.mark.parametrize("has_git", [False, True])
def test_make_repro_runs_without_git_too(tmp_path, has_git):
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / ".dvc").mkdir()
    shutil.copy(ROOT / ".dvc/config", tmp_path / ".dvc")
    stage = "stages:\n  one:\n    cmd: echo done > one.txt\n    outs: [one.txt]\n"
    (tmp_path / "dvc.yaml").write_text(stage)
    if has_git:
        subprocess.run(["git", "init", "-q", tmp_path], check=True)
    # The environment is this one, and up to date.
    command = "make", "repro", f"BIN={Path(sys.executable).parent}", "--old-file=.venv/train"
    done = run(tmp_path, *command, GIT_CEILING_DIRECTORIES=str(tmp_path.parent))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "one.txt").read_text() == "done\n"
    assert ("dvc exp and dvc diff need 'git clone'" in done.stdout) == (not has_git)
    assert ("git status lists" in done.stdout) == has_git
