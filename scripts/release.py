"""Check a release and print the commands that publish it; nothing is uploaded.

Checks: the git tree is clean, CHANGELOG.md has a section for the version in fer/core/__init__.py,
which has no tag yet, lint and tests pass, the models in the wheel are those of fer/weights,
and the wheel installs and predicts in a clean environment.
"""

import hashlib
import shutil
import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

from fer.core import __version__
from fer.core.errors import FerError, exit_on_error

WEIGHTS = Path("fer", "weights")
PREDICT = """
import numpy as np
from fer import Recognizer
for model in ("nano", "small", "base", "large"):
    (face,) = Recognizer(model).predict(np.zeros((48, 48), np.uint8), face=True)
    print(f"{model}: predicts {face.emotion} for a black image")
"""


def main() -> None:
    version = __version__
    if changed := run("git", "status", "--porcelain"):
        raise FerError(f"git: {len(changed.splitlines())} changed files; commit or restore them")
    if f"\n## [{version}] - " not in Path("CHANGELOG.md").read_text(encoding="utf-8"):
        raise FerError(
            f"CHANGELOG.md: has no section `## [{version}] - <date>`; move the entries of "
            "Unreleased there, or raise the version in fer/core/__init__.py"
        )
    if run("git", "tag", "--list", f"v{version}"):
        raise FerError(f"git: the tag v{version} exists; raise the version in fer/core/__init__.py")
    if subprocess.run(["make", "lint", "test"]).returncode:
        raise FerError("make: lint or tests fail, see above; mend them")
    shutil.rmtree("dist", ignore_errors=True)
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", "dist", ".")
    (wheel,) = Path("dist").glob("*.whl")
    check_models(wheel)
    check_installation(wheel, version)
    print(f"{wheel} is ready. To publish it:")
    print(f"  git tag v{version} && git push origin v{version}")
    print(f"  python -m twine upload {wheel}")


def check_models(wheel: Path) -> None:
    """Raise FerError if the models in the wheel are not those of the repository."""
    with zipfile.ZipFile(wheel) as archive:
        for path in sorted(WEIGHTS.glob("*.onnx")):
            expected = hashlib.sha256(path.read_bytes()).hexdigest()
            packed = hashlib.sha256(archive.read(path.as_posix())).hexdigest()
            if packed != expected:
                raise FerError(f"{wheel}: {path} is not that of the repository; remove build/")
            print(f"{path.name}: sha256 {expected}")


def check_installation(wheel: Path, version: str) -> None:
    """Raise FerError if the wheel does not install and predict in a clean environment."""
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        binaries = Path(folder, "Scripts" if sys.platform == "win32" else "bin")
        python = str(binaries / "python")
        run(python, "-m", "pip", "install", "--quiet", str(wheel.absolute()), cwd=folder)
        print(run(python, "-c", PREDICT, cwd=folder))
        installed = run(str(binaries / "fer"), "--version", cwd=folder)
        if installed != version:
            raise FerError(f"{wheel}: `fer --version` prints {installed}, not {version}")


def run(*command: str, cwd: str | None = None) -> str:
    """Return what a command prints; raise FerError with its last line if it fails."""
    result = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    if result.returncode:
        lines = (result.stderr.strip() or result.stdout.strip() or "no message").splitlines()
        raise FerError(f"`{' '.join(command)}` failed: {lines[-1]}")
    return result.stdout.strip()


if __name__ == "__main__":
    exit_on_error(main)
