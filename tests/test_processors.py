"""The int8 models on other processors: without AVX-512 and VNNI, and in emulation (`-m qemu`)."""

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scripts.without_avx512 import SWITCHES

from fer.core.params import load
from fer.data import sample

ROOT = Path(__file__).parents[1]
QEMU = shutil.which("qemu-x86_64")
CLASSIFY = """
import sys, numpy as np
from fer import Recognizer
_, model, faces, out = sys.argv
np.save(out, Recognizer(model, threads=1).classify(np.load(faces)))
"""


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    """Path of 504 drawn faces."""
    drawn = sample.draw_split(504, load(ROOT / "params.yaml").sample, stream=3)
    path = tmp_path_factory.mktemp("faces") / "faces.npy"
    np.save(path, np.stack([face for _, face in drawn]))
    return path


def classify(model, faces, out, *runner):
    # Without the kernels that this machine's environment may have chosen for its own processor.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("OPENBLAS")}
    command = [*runner, sys.executable, "-c", CLASSIFY, model, faces, out]
    subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)
    return np.load(out)


@pytest.mark.slow
@pytest.mark.skipif(platform.system() != "Linux", reason="changes libraries of Linux")
@pytest.mark.skipif(
    not torch.cpu.get_capabilities().get("avx512_vnni")
    or torch.backends.cpu.get_cpu_capability() != "AVX512",  # in scripts.without_avx512 already
    reason="compares VNNI with its absence",
)
@pytest.mark.parametrize("dataset", ["sample", "fer2013"])
def test_int8_says_the_same_without_vnni(faces, tmp_path, dataset):
    model = ROOT / "models" / dataset / "fer.int8.onnx"
    here = classify(model, faces, tmp_path / "here.npy")
    runner = (sys.executable, "-m", "scripts.without_avx512")
    there = classify(model, faces, tmp_path / "there.npy", *runner)
    # Sums of integers that fit 16 bits, and the same float32 at their ends.
    assert (here.argmax(1) == there.argmax(1)).all()
    assert np.abs(here - there).max() < 1e-4


@pytest.mark.parametrize("names", [["ATEN_CPU_CAPABILITY"], ["ONEDNN_MAX_CPU_ISA"], [*SWITCHES]])
def test_ways_to_run_where_switches_hide_what_the_processor_has(names):
    code = (
        "import numpy as np\n"
        "from pathlib import Path\n"
        "from fer.deploy.runtimes import openvino_runtime\n"
        "path, faces = Path('models/sample/fer.onnx'), np.zeros((2, 48, 48), np.uint8)\n"
        "plain, fast = (openvino_runtime(path, name)(1)(faces) for name in ('f32', 'bf16'))\n"
        "assert (plain == fast).all()"
    )
    environment = os.environ | {name: SWITCHES[name] for name in names}
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, check=True)


@pytest.mark.qemu
@pytest.mark.skipif(QEMU is None, reason="needs qemu-x86_64, of Debian's package qemu-user")
@pytest.mark.skipif(platform.machine() != "x86_64", reason="compares processors of x86")
@pytest.mark.parametrize("dataset", ["sample", "fer2013"])
@pytest.mark.parametrize("cpu", ["Haswell", "Nehalem"])  # AVX2 without VNNI; no AVX
def test_int8_says_the_same_in_emulation(faces, tmp_path, dataset, cpu):
    model = ROOT / "models" / dataset / "fer.int8.onnx"
    here = classify(model, faces, tmp_path / "here.npy")
    there = classify(model, faces, tmp_path / "there.npy", QEMU, "-cpu", cpu)
    assert (here.argmax(1) == there.argmax(1)).all()
    assert np.abs(here - there).max() < 0.01


def test_signals_are_survived_after_openvino():
    """Of several cores that end in the order in which they began, a signal was the end."""
    code = (
        "import os, signal, numpy as np; from pathlib import Path\n"
        "from fer.deploy.runtimes import openvino_runtime\n"
        "signal.signal(signal.SIGUSR1, lambda *_: print('alive'))\n"
        "maker = openvino_runtime(Path('models/fer2013/fer.onnx'), 'f32')\n"
        "first, second = maker(1), maker(1)\n"
        "for way in (first, second): way(np.zeros((1, 48, 48), np.uint8))\n"
        "del way, first\n"
        "del second\n"
        "os.kill(os.getpid(), signal.SIGUSR1)\n"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (0, "alive\n"), result.stderr
