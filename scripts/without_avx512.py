"""Run a command as on a processor with AVX2, without AVX-512, VNNI and bfloat16.

Use it as `python -m scripts.without_avx512 pytest`, on x86 Linux. PyTorch has environment variables
for this. ONNX Runtime and OpenVINO have none, so the command gets patched copies that find the
AVX-512 registers turned off. Their AVX2 kernels run at full speed, so both kinds can be compared on
one machine.
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

_XGETBV = b"\x31\xc9\x0f\x01\xd0"
"""xor ecx, ecx; xgetbv: reads which registers the system saves, as bits in eax."""

_WITHOUT_AVX512 = b"\x31\xc9\x6a\x07\x58"
"""xor ecx, ecx; push 7; pop rax: the bits of x87, SSE and AVX only."""


def main() -> None:
    if not sys.argv[1:]:
        sys.exit("error: no command; run python -m scripts.without_avx512 COMMAND")
    with tempfile.TemporaryDirectory() as folder:
        for package in PACKAGES:
            source = Path(find_spec(package).origin).parent
            shutil.copytree(source, Path(folder, package))
            if not sum(patch(library) for library in Path(folder, package).rglob("*.so*")):
                sys.exit(
                    f"error: {package} has no check for AVX-512 to patch; run this on x86 Linux"
                )
        paths = [folder, *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = os.environ | SWITCHES | {"PYTHONPATH": os.pathsep.join(paths)}
        sys.exit(subprocess.run(sys.argv[1:], env=environment).returncode)


def patch(library: Path) -> int:
    """Replace each check of a library, and return their number."""
    content = library.read_bytes()
    library.write_bytes(content.replace(_XGETBV, _WITHOUT_AVX512))
    return content.count(_XGETBV)


if __name__ == "__main__":
    main()
