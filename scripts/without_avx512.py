"""Run a command as a processor with AVX2 would, without AVX-512, VNNI and bfloat16.

`python -m scripts.without_avx512 pytest`, on x86 Linux. PyTorch has switches for that. ONNX Runtime
and OpenVINO have none: the command gets copies of them that find the registers of AVX-512 turned
off, as some systems have them. On its own processor's other kernels each runs at full speed, so
that the two kinds can be compared on one machine.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

PACKAGES = ("onnxruntime", "openvino")
SWITCHES = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}

_READ = b"\x31\xc9\x0f\x01\xd0"
"""xor ecx, ecx; xgetbv: which registers the system keeps, as bits in eax."""

_ANSWER = b"\x31\xc9\x6a\x07\x58"
"""xor ecx, ecx; push 7; pop rax: those of x87, SSE and AVX, and no others."""


def main() -> None:
    if not sys.argv[1:]:
        sys.exit("error: which command? python -m scripts.without_avx512 COMMAND")
    with tempfile.TemporaryDirectory() as folder:
        for package in PACKAGES:
            source = Path(find_spec(package).origin).parent
            shutil.copytree(source, Path(folder, package))
            if not sum(patch(library) for library in Path(folder, package).rglob("*.so*")):
                sys.exit(
                    f"error: found nowhere that {package} asks for AVX-512: is this x86 Linux?"
                )
        paths = [folder, *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = os.environ | SWITCHES | {"PYTHONPATH": os.pathsep.join(paths)}
        sys.exit(subprocess.run(sys.argv[1:], env=environment).returncode)


def patch(library: Path) -> int:
    """Answer for the processor wherever `library` asks; returns in how many places."""
    content = library.read_bytes()
    library.write_bytes(content.replace(_READ, _ANSWER))
    return content.count(_READ)


if __name__ == "__main__":
    main()
