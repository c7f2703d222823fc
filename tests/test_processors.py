"""The int8 models on other processors: without AVX-512 and VNNI, and in emulation (`-m qemu`)."""

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from layouts import PARAMS, ROOT
from test_pipeline import run

from fer.data import sample

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
    drawn = sample.draw_split(504, PARAMS.sample, stream=3)
    path = tmp_path_factory.mktemp("faces") / "faces.npy"
    np.save(path, np.stack([face for _, face in drawn]))
    return path


def greatest_difference(dataset, faces, folder, *runner, **variables):
    """Of probabilities on this and on another processor, which predict the same classes."""
    model = ROOT / "models" / dataset / "nano/fer.int8.onnx"
    here = classify(model, faces, folder / "here.npy")
    there = classify(model, faces, folder / "there.npy", *runner, **variables)
    assert (here.argmax(1) == there.argmax(1)).all()
    return np.abs(here - there).max()


def classify(model, faces, out, *runner, **variables):
    # Without the kernels that this machine's environment may have chosen for its own processor.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("OPENBLAS")} | variables
    command = [*runner, sys.executable, "-c", CLASSIFY, model, faces, out]
    subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)
    return np.load(out)


@pytest.mark.slow
@pytest.mark.skipif(platform.system() != "Linux", reason="changes a library of Linux")
@pytest.mark.skipif(
    not torch.cpu.get_capabilities().get("avx512_vnni"), reason="compares VNNI with its absence"
)
@pytest.mark.parametrize("dataset", ["sample", "fer2013"])
def test_int8_predicts_the_same_without_vnni(faces, tmp_path, dataset):
    """ONNX Runtime has no switch for its kernels, so a copy of it finds AVX-512 turned off."""
    copy = shutil.copytree(Path(onnxruntime.__file__).parent, tmp_path / "onnxruntime")
    (library,) = Path(copy, "capi").glob("onnxruntime_pybind11_state*.so")
    reads_registers = b"\x31\xc9\x0f\x01\xd0"  # xor ecx, ecx; xgetbv
    without_avx512 = b"\x31\xc9\x6a\x07\x58"  # xor ecx, ecx; push 7 (x87, SSE, AVX); pop rax
    content = library.read_bytes()
    assert reads_registers in content
    library.write_bytes(content.replace(reads_registers, without_avx512))
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    # Sums of integers that fit 16 bits, and the same float32 at their ends.
    assert greatest_difference(dataset, faces, tmp_path, PYTHONPATH=path) < 1e-4


@pytest.mark.qemu
@pytest.mark.skipif(QEMU is None, reason="needs qemu-x86_64, of Debian's package qemu-user")
@pytest.mark.skipif(platform.machine() != "x86_64", reason="compares processors of x86")
@pytest.mark.parametrize("dataset", ["sample", "fer2013"])
@pytest.mark.parametrize("cpu", ["Haswell", "Nehalem"])  # AVX2 without VNNI; no AVX
def test_int8_says_the_same_in_emulation(faces, tmp_path, dataset, cpu):
    assert greatest_difference(dataset, faces, tmp_path, QEMU, "-cpu", cpu) < 0.01


def test_openvino_survives_signals_and_hidden_instructions():
    """With several cores of OpenVINO, a signal after the end of one ended the process."""
    code = (
        "import os, signal, numpy as np; from pathlib import Path\n"
        "from fer.deploy.runtimes import openvino_predictor\n"
        "signal.signal(signal.SIGUSR1, lambda *_: print('alive'))\n"
        "path, faces = Path('models/fer2013/nano/fer.onnx'), np.zeros((2, 48, 48), np.uint8)\n"
        "f32, bf16 = (openvino_predictor(path, 1, name)(faces) for name in ('f32', 'bf16'))\n"
        "assert (f32 == bf16).all()\n"
        "os.kill(os.getpid(), signal.SIGUSR1)\n"
    )
    result = run(ROOT, sys.executable, "-c", code, ONEDNN_MAX_CPU_ISA="AVX2")
    assert (result.returncode, result.stdout) == (0, "alive\n"), result.stderr
