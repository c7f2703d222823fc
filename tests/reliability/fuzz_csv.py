"""Fuzz the CSV reader, guided by coverage: `python tests/reliability/fuzz_csv.py -runs=1000000`.

Each input is read by a plain reference reader too: both find the same faces, or both refuse; and
the memory stays below a multiple of the input. A face is of 2 x 2 pixels here, so that a mutation
reaches every part of a row.
"""

import sys
import tempfile
import tracemalloc
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["fer.data"]):
    from fer.data.formats import pixels
    from fer.data.raw import RawFolder
from fer.core import faces, params
from fer.core.errors import FerError

SIZE = 2
PREPARE = params.load(Path(__file__).parents[2] / "params.yaml").prepare
USAGES = {"Training": "train", "PublicTest": "val", "PrivateTest": "test"}
SEED = b"emotion,pixels,Usage\n0,1 22 255 0,Training\n1,9 9 9 9,PublicTest\n0,0 0 0 0,PrivateTest\n"
MEMORY = 4_000_000, 60
"""Bytes, and bytes for each of the input, that reading may take."""


def reference(text):
    """Labels and pixels of each split in the order of the file, or None: the format in words.

    Of the files with numbers for labels: for one with words it returns None as well.
    """
    header, *lines = text.split(b"\n")
    header = header.removeprefix(b"\xef\xbb\xbf")
    names = [name.strip(b' "\r').lower() for name in header.split(b",")]
    columns = [name for name in (b"emotion", b"label", b"class") if name in names]
    if b"pixels" not in names or not columns:
        return None
    actual = {}
    for line in lines:
        if not line or line.isspace():
            continue
        fields = [field.strip(b' "\r') for field in line.split(b",")]
        if len(fields) != len(names):
            return None
        label, pixels = (fields[names.index(name)] for name in (columns[0], b"pixels"))
        usage = fields[names.index(b"usage")] if b"usage" in names else None
        numbers = pixels.split()
        if label not in [b"%d" % number for number in range(256)]:
            return None
        if usage is not None and usage.decode("latin-1") not in USAGES:
            return None
        if len(numbers) != SIZE * SIZE:
            return None
        if not all(number.isdigit() and int(number) < 256 for number in numbers):
            return None
        split = "unsplit" if usage is None else USAGES[usage.decode()]
        actual.setdefault(split, []).append((int(label), [int(n) for n in numbers]))
    labels = {label for rows in actual.values() for label, _ in rows}
    return actual if len(labels) > 1 and labels == set(range(len(labels))) else None


def read(folder):
    try:
        raw = RawFolder(folder)
        if not pixels.recognizes(raw):
            return None
        data = pixels.read(raw, PREPARE)
    except FerError:
        return None
    if not all(name.isdigit() for name in data.classes):
        return None  # words
    return {
        split: [
            (label, image.ravel().tolist())
            for label, image in zip(own.labels.tolist(), own.images, strict=True)
        ]
        for split, own in data.splits.items()
    }


def main():
    pixels._PIXELS, pixels.FACE_SIZE, faces.FACE_SIZE = SIZE * SIZE, SIZE, SIZE
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        path = Path(folder, "set", "faces.csv")
        path.parent.mkdir()

        def try_one(content):
            path.write_bytes(content)
            traced = hash(content) % 32 == 0  # as tracing takes ten times as long
            if traced:
                tracemalloc.start()
            actual = read(path.parent)
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            assert actual == reference(content), content
            assert peak < MEMORY[0] + MEMORY[1] * len(content), (peak, len(content))

        assert reference(SEED)
        seeds = Path(folder, "seeds")
        seeds.mkdir()
        (seeds / "good.csv").write_bytes(SEED)
        (seeds / "odd.csv").write_bytes(b"\xef\xbb\xbf" + SEED.replace(b"\n", b"\r\n"))
        (seeds / "quoted.csv").write_bytes(SEED.replace(b"Training", b'"Training"'))
        atheris.Setup([*sys.argv, "-max_len=400", str(seeds)], try_one)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
